//! Where a member of the cluster listens, as people write it.

use std::fmt;

/// One member's address, checked: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The port etcd listens on for clients.
    const DEFAULT_PORT: &str = "2379";

    /// The address as a URL.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// Reads one endpoint; without scheme it is `http`, without port 2379.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("the endpoint {text:?} cannot be used: {why}; write it as host:2379")
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        match scheme {
            "http" => {}
            "https" => return Err(wrong("this version cannot speak TLS yet")),
            _ => return Err(wrong("only http:// is known")),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("an etcd endpoint has no path"));
        }
        if authority.contains('@') {
            return Err(wrong("a user and password do not belong into it"));
        }
        let printable = |c: char| c.is_ascii_graphic() && c != ',';
        if authority.is_empty() || !authority.chars().all(printable) {
            return Err(wrong("it is no host name or address"));
        }
        // An IPv6 address stands in brackets and is full of colons.
        let after_address = authority
            .rsplit_once(']')
            .map_or(authority, |(_, rest)| rest);
        let authority = match after_address.split_once(':') {
            None => format!("{authority}:{}", Self::DEFAULT_PORT),
            Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
                authority.to_owned()
            }
            Some(_) => return Err(wrong("its port is no number from 1 to 65535")),
        };
        Ok(Self(format!("{scheme}://{authority}")))
    }

    /// Reads a list with a comma between.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let endpoints: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|endpoint| !endpoint.is_empty())
            .map(Self::parse)
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err("no endpoint is given; write for example 127.0.0.1:2379".to_owned());
        }
        Ok(endpoints)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_completed() {
        let cases = [
            ("127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("localhost", "http://localhost:2379"),
            ("http://etcd-1:1234/", "http://etcd-1:1234"),
            ("[::1]:2379", "http://[::1]:2379"),
            ("[::1]", "http://[::1]:2379"),
        ];
        for (text, url) in cases {
            assert_eq!(Endpoint::parse(text).expect(text).url(), url);
        }
        assert_eq!(Endpoint::parse_list("a:1, b:2,").expect("two").len(), 2);
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_reason() {
        let texts = [
            "",
            "http://",
            "a:0",
            "a:x",
            "a:65536",
            "http://a/b",
            "u:p@a:1",
            "ftp://a",
            "a b",
            "a\u{1b}:1",
            "https://a:1",
        ];
        for text in texts {
            assert!(Endpoint::parse(text).is_err(), "{text:?}");
        }
        assert!(Endpoint::parse_list(" , ").is_err());
    }
}
