//! Texts that nobody may see: in messages, logs, arguments, keys and the command's environment.

use std::fmt;

/// A password or a private key. Its `Debug` does not show it, and it has no `Display`: whoever needs the
/// text asks for it by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps it.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        Self(content.into())
    }

    /// The content, for whoever has to send or parse it.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "Secret(...)");
        assert_eq!(Secret::new("s3cret").reveal(), b"s3cret");
    }
}
