//! Where a member of the cluster listens, as people write it.

use std::fmt;

/// One member's address, checked: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The port etcd listens on for clients.
    const DEFAULT_PORT: &str = "2379";

    /// The address as a URL.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// Whether it is spoken to with TLS.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Reads one endpoint; without port it is 2379, without scheme `https` if `tls` and else `http`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("the endpoint {text:?} cannot be used: {why}; write it as host:2379")
        };
        let default_scheme = if tls { "https" } else { "http" };
        let (scheme, rest) = text.split_once("://").unwrap_or((default_scheme, text));
        if !matches!(scheme, "http" | "https") {
            return Err(wrong("only http:// and https:// are known"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("an etcd endpoint has no path"));
        }
        if authority.contains('@') {
            // Not repeated: it may be a password.
            return Err("an endpoint cannot contain a user and password; use --user".to_owned());
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
    pub fn parse_list(text: &str, tls: bool) -> Result<Vec<Self>, String> {
        let endpoints: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|endpoint| !endpoint.is_empty())
            .map(|endpoint| Self::parse(endpoint, tls))
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
            assert_eq!(Endpoint::parse(text, false).expect(text).url(), url);
        }
        let two = Endpoint::parse_list("a:1, b:2,", false).expect("two");
        assert_eq!(two.len(), 2);
    }

    #[test]
    fn a_scheme_says_whether_tls_is_spoken_and_without_one_the_files_do() {
        for (text, tls, url) in [
            ("https://a", false, "https://a:2379"),
            ("http://a", true, "http://a:2379"),
            ("a", true, "https://a:2379"),
        ] {
            let endpoint = Endpoint::parse(text, tls).expect(text);
            assert_eq!(endpoint.url(), url);
            assert_eq!(endpoint.is_tls(), url.starts_with("https"));
        }
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
            "https://a/b",
            "https:///",
        ];
        for text in texts {
            assert!(Endpoint::parse(text, false).is_err(), "{text:?}");
        }
        assert!(Endpoint::parse_list(" , ", false).is_err());
    }
}
