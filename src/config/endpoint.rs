//! Where a member of the cluster listens, as people write it.

use core::net::Ipv6Addr;
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
        if text.contains('@') {
            // Not repeated: it may be a password.
            return Err("an endpoint cannot contain a user and password; use --user".to_owned());
        }
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
        if authority.parse::<Ipv6Addr>().is_ok() {
            return Err(wrong(
                "an IPv6 address stands in brackets, as in [::1]:2379",
            ));
        }
        let port_at = match authority.rfind(']') {
            Some(bracket) => bracket + 1,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(port_at);
        if !is_host(host) {
            return Err(wrong("it is no host name or address"));
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Self::DEFAULT_PORT,
            Some(port) if is_port(port) => port,
            _ => return Err(wrong("its port is no number from 1 to 65535")),
        };
        Ok(Self(format!("{scheme}://{host}:{port}")))
    }

    /// Reads a list with a comma between.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse_list(text: &str, tls: bool) -> Result<Vec<Self>, String> {
        // A password may have commas in it, too.
        if text.contains('@') {
            Self::parse(text, tls)?;
        }
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

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let in_names = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !host.is_empty() && host.chars().all(in_names)
}

fn is_port(port: &str) -> bool {
    port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
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
            "::1",
            "::1:2379",
            "[::1",
            "::1]:2379",
            "[::1]x:2379",
            "[]:2379",
            "[etcd-1]:2379",
            "[127.0.0.1]:2379",
            "[fe80::1%eth0]:2379",
            ":2379",
            "{}:1",
            "a;b",
            "a|b:1",
            "a%b:1",
            "a:+1",
            "a:",
        ];
        for text in texts {
            assert!(Endpoint::parse(text, false).is_err(), "{text:?}");
        }
        let why = Endpoint::parse("::1", false).expect_err("ambiguous");
        assert!(why.contains("[::1]:2379"), "{why}");
        assert!(Endpoint::parse_list(" , ", false).is_err());
    }

    #[test]
    fn a_password_in_an_endpoint_is_not_repeated() {
        for text in [
            "http://u:s3cret@a:1",
            "u:s3cret@a",
            "http://u:s3cret/x@a:1",
            "ftp://u:s3cret@a",
            "b:1,http://u:s3cret,s3cret@a",
        ] {
            let why = Endpoint::parse_list(text, false).expect_err(text);
            assert!(
                why.contains("use --user") && !why.contains("s3cret"),
                "{why}"
            );
        }
    }
}
