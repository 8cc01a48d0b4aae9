//! Many keys, a page at a time: all of them would not fit into one answer.

use etcd_client::{GetOptions, GetResponse};

use super::cluster::Cluster;
use super::trouble::Failure;
use crate::clock::Instant;

/// How many keys are read at once with their values: so many of the largest that etcd takes still fit into one answer.
const WITH_VALUES: i64 = 32;

/// How many are read at once without.
const WITHOUT_VALUES: i64 = 1000;

/// An answer with so many of the largest values.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What is read of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Only that it is there.
    Keys,
    /// Its value too.
    Values,
}

/// A range of keys that is being read.
pub struct Pages<'cluster> {
    cluster: &'cluster Cluster,
    /// Where the next page begins; nothing once the last one was read.
    from: Option<Vec<u8>>,
    end: Vec<u8>,
    of: Of,
    /// The revision at which it is read; 0 is whatever is there when a page is.
    pub revision: i64,
}

impl<'cluster> Pages<'cluster> {
    /// The keys from the first to the end.
    pub fn new(
        cluster: &'cluster Cluster,
        first: impl Into<Vec<u8>>,
        end: impl Into<Vec<u8>>,
        of: Of,
    ) -> Self {
        Self {
            cluster,
            from: Some(first.into()),
            end: end.into(),
            of,
            revision: 0,
        }
    }

    /// The next page, if there is one.
    pub async fn next(&mut self, give_up_at: Instant) -> Result<Option<GetResponse>, Failure> {
        let Some(from) = self.from.take() else {
            return Ok(None);
        };
        let options = GetOptions::new()
            .with_range(self.end.as_slice())
            .with_revision(self.revision);
        let options = match self.of {
            Of::Keys => options.with_keys_only().with_limit(WITHOUT_VALUES),
            Of::Values => options.with_limit(WITH_VALUES),
        };
        let (from, options) = (&from, &options);
        let page = self
            .cluster
            .call(give_up_at, |client| async move {
                let kv = client.kv_client();
                let mut kv = kv.max_decoding_message_size(ANSWER_BYTES_MAX);
                kv.get(from.as_slice(), Some(options.clone())).await
            })
            .await?;
        if let (true, Some(last)) = (page.more(), page.kvs().last()) {
            self.from = Some([last.key(), b"\0"].concat());
        }
        Ok(Some(page))
    }
}
