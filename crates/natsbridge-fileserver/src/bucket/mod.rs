//! A store in a bucket: S3 and servers with its protocol, Google Cloud Storage, Azure Blob Storage.

mod checks;
mod client;

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt, TryFutureExt as _, TryStreamExt};
use http::StatusCode;
use natsbridge_core::{Object, Source, Uploaded, shown};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use time::OffsetDateTime;
use uuid::Uuid;

use self::client::{Connector, Trouble};
use crate::body::{Reading, Sums};
use crate::clean_up::{CLEAN_UP, CleanUp, Doubt};
use crate::client::{ClientOptions, client_option_setters};
use crate::secrets::Secrets;
use crate::upload::{Failure, Requests};
use crate::{
    ConfigError, ExpiryRule, LifetimeRules, OneShotRule, Origin, Receipt, StoreError, StoreErrorKind as Kind, Stored,
    Uploader,
};

/// Bytes in one part of a multipart upload; payloads up to this size are uploaded in one request
const PART: u64 = 8 * 1024 * 1024;
/// Parts that are uploaded at the same time
const IN_FLIGHT: usize = 2;
/// Most parts that S3 accepts
const MAX_PARTS: u64 = 10_000;
/// Longest lifetime of a presigned URL, by the rules of AWS Signature Version 4
const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Uploads payloads to a bucket; a link is a presigned URL for GET
///
/// A link expires after the requested time, at the latest after 7 days, or with the temporary credentials that signed it.
/// The object itself remains until it is deleted: set a lifecycle rule for the prefix, which also removes the parts of
/// interrupted multipart uploads. Buckets offer no one-shot links. Clones share their connections and circuit breakers.
#[derive(Debug, Clone)]
pub struct BucketStore(Arc<Bucket>);

struct Bucket {
    requests: Requests,
    store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
    prefix: String,
    /// Secrets that no error may show
    secrets: Secrets,
    /// Origin of the links, known after the first one
    origin: OnceLock<Origin>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.requests.name)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl BucketStore {
    /// Returns a builder for a bucket on S3, or on a server with S3's protocol
    ///
    /// Credentials and region come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, web identity) unless the builder sets them. Instance and
    /// container credentials are used only after [`instance_credentials`](BucketStoreBuilder::instance_credentials).
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn s3(bucket: impl Into<String>) -> BucketStoreBuilder {
        let cloud = object_store::aws::AmazonS3Builder::from_env();
        BucketStoreBuilder::new(Cloud::S3(Box::new(cloud)), bucket.into())
    }

    /// Returns a builder for a bucket on Google Cloud Storage
    ///
    /// Credentials come from the environment, such as `GOOGLE_APPLICATION_CREDENTIALS`.
    #[cfg(feature = "gcs")]
    #[must_use]
    pub fn gcs(bucket: impl Into<String>) -> BucketStoreBuilder {
        let cloud = object_store::gcp::GoogleCloudStorageBuilder::from_env();
        BucketStoreBuilder::new(Cloud::Gcs(Box::new(cloud)), bucket.into())
    }

    /// Returns a builder for a container on Azure Blob Storage
    ///
    /// Credentials come from the environment, such as `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`.
    #[cfg(feature = "azure")]
    #[must_use]
    pub fn azure(container: impl Into<String>) -> BucketStoreBuilder {
        let cloud = object_store::azure::MicrosoftAzureBuilder::from_env();
        BucketStoreBuilder::new(Cloud::Azure(Box::new(cloud)), container.into())
    }

    /// Signs a URL and returns the origin of this bucket's links
    ///
    /// # Errors
    /// [`StoreError`] if there are no credentials to sign with.
    pub async fn discover(&self) -> Result<Vec<Origin>, StoreError> {
        let bucket = &*self.0;
        bucket.sign(&bucket.path("origin"), Duration::from_secs(1)).await?;
        Ok(self.origins())
    }
}

/// Configures a [`BucketStore`]
#[derive(Clone)]
pub struct BucketStoreBuilder {
    cloud: Cloud,
    bucket: String,
    prefix: String,
    client: ClientOptions,
    /// Whether instance credentials may be used
    instance: bool,
    /// An option that was set but is not one of this cloud
    misplaced: Option<&'static str>,
}

#[derive(Clone)]
enum Cloud {
    #[cfg(feature = "s3")]
    S3(Box<object_store::aws::AmazonS3Builder>),
    #[cfg(feature = "gcs")]
    Gcs(Box<object_store::gcp::GoogleCloudStorageBuilder>),
    #[cfg(feature = "azure")]
    Azure(Box<object_store::azure::MicrosoftAzureBuilder>),
}

impl fmt::Debug for BucketStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStoreBuilder")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

client_option_setters!(BucketStoreBuilder);

impl BucketStoreBuilder {
    fn new(cloud: Cloud, bucket: String) -> Self {
        Self {
            cloud,
            bucket,
            prefix: "natsbridge/".to_owned(),
            client: ClientOptions::default(),
            instance: false,
            misplaced: None,
        }
    }

    /// Sets the prefix of object keys, default `natsbridge/`
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the URL of a server with S3's protocol, http or https; only for [`BucketStore::s3`]
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        let plain = url.starts_with("http://");
        self.s3_option("endpoint", |s3| s3.with_endpoint(url).with_allow_http(plain))
    }

    /// Sets the region, default `AWS_REGION` or `us-east-1`; only for [`BucketStore::s3`]
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn region(self, region: impl Into<String>) -> Self {
        self.s3_option("region", |s3| s3.with_region(region))
    }

    /// Sets access key ID and secret access key; only for [`BucketStore::s3`]
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn access_key(self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.s3_option("access_key", |s3| s3.with_access_key_id(id).with_secret_access_key(secret))
    }

    #[cfg(feature = "s3")]
    fn s3_option(
        mut self,
        name: &'static str,
        set: impl FnOnce(object_store::aws::AmazonS3Builder) -> object_store::aws::AmazonS3Builder,
    ) -> Self {
        #[allow(irrefutable_let_patterns, reason = "refutable as soon as another cloud is compiled in")]
        if let Cloud::S3(s3) = &mut self.cloud {
            **s3 = set(std::mem::take(&mut **s3));
        } else {
            self.misplaced = Some(name);
        }
        self
    }

    /// Sets whether to use instance credentials if no keys are set, default no
    ///
    /// These are the instance roles of EC2, ECS and EKS, and the metadata services of Google and Azure.
    /// `AWS_EC2_METADATA_DISABLED=true` disables them in any case.
    #[must_use]
    pub const fn instance_credentials(mut self, allowed: bool) -> Self {
        self.instance = allowed;
        self
    }

    /// Creates the store; this sends no request
    ///
    /// # Errors
    /// [`ConfigError`] if a name, an option or a variable is missing or invalid, or if an option of S3 was set for another
    /// cloud.
    pub fn build(self) -> Result<BucketStore, ConfigError> {
        if let Some(option) = self.misplaced {
            let problem = format!("`{option}` is an option of S3 alone; set the environment variables of this cloud");
            return Err(ConfigError::new("the bucket", problem));
        }
        let kind = self.cloud.kind();
        checks::name(kind, &self.bucket)?;
        checks::prefix(kind, &self.prefix)?;
        let instance = self.instance && !checks::machine_is_off_limits();
        let secrets = self.cloud.secrets();
        let refused = |error: &dyn std::error::Error| {
            ConfigError::new(
                kind,
                format!("bucket `{}` can't be used: {}", shown(&self.bucket), shown(&error.to_string())),
            )
        };
        let connector =
            Connector::new(self.client.clone(), instance, secrets.clone()).map_err(|error| refused(&error))?;
        // This store does the retries, so that all stores follow the same policy.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let (store, signer): (Arc<dyn ObjectStore>, Arc<dyn Signer>) = match self.cloud {
            #[cfg(feature = "s3")]
            Cloud::S3(cloud) => {
                checks::s3(&cloud, instance)?;
                let cloud = cloud.with_bucket_name(&self.bucket).with_retry(retry).with_http_connector(connector);
                let store = Arc::new(cloud.build().map_err(|error| refused(&error))?);
                (Arc::<object_store::aws::AmazonS3>::clone(&store), store)
            }
            #[cfg(feature = "gcs")]
            Cloud::Gcs(cloud) => {
                let cloud = cloud.with_bucket_name(&self.bucket).with_retry(retry).with_http_connector(connector);
                let store = Arc::new(cloud.build().map_err(|error| refused(&error))?);
                (Arc::<object_store::gcp::GoogleCloudStorage>::clone(&store), store)
            }
            #[cfg(feature = "azure")]
            Cloud::Azure(cloud) => {
                use object_store::azure::AzureConfigKey as Key;
                if let Some(account) = cloud.get_config_value(&Key::AccountName) {
                    checks::word(kind, "account", &account)?;
                }
                if let Some(url) = cloud.get_config_value(&Key::Endpoint) {
                    checks::endpoint(kind, &url)?;
                }
                let cloud = cloud.with_container_name(&self.bucket).with_retry(retry).with_http_connector(connector);
                let store = Arc::new(cloud.build().map_err(|error| refused(&error))?);
                (Arc::<object_store::azure::MicrosoftAzure>::clone(&store), store)
            }
        };
        let name = format!("{kind} bucket {}", self.bucket);
        let requests = Requests::new(name, self.client);
        Ok(BucketStore(Arc::new(Bucket {
            requests,
            store,
            signer,
            prefix: self.prefix,
            secrets,
            origin: OnceLock::new(),
        })))
    }
}

impl Cloud {
    /// Keys and tokens, which no error may show
    fn secrets(&self) -> Secrets {
        let values: Vec<Option<String>> = match self {
            #[cfg(feature = "s3")]
            Self::S3(cloud) => {
                use object_store::aws::AmazonS3ConfigKey as Key;
                [Key::SecretAccessKey, Key::Token].map(|key| cloud.get_config_value(&key)).into()
            }
            #[cfg(feature = "gcs")]
            Self::Gcs(_) => Vec::new(),
            #[cfg(feature = "azure")]
            Self::Azure(cloud) => {
                use object_store::azure::AzureConfigKey as Key;
                [Key::AccessKey, Key::SasKey, Key::Token, Key::ClientSecret]
                    .map(|key| cloud.get_config_value(&key))
                    .into()
            }
        };
        let mut secrets = Secrets::default();
        values.into_iter().flatten().for_each(|value| secrets.add(&value));
        secrets
    }

    fn kind(&self) -> &'static str {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(_) => "s3",
            #[cfg(feature = "gcs")]
            Self::Gcs(_) => "gcs",
            #[cfg(feature = "azure")]
            Self::Azure(_) => "azure",
        }
    }
}

impl Bucket {
    fn path(&self, id: &str) -> Path {
        Path::from(format!("{}{id}", self.prefix))
    }

    /// A link to an object; asks nobody where the keys are at hand
    async fn sign(&self, path: &Path, ttl: Duration) -> Result<String, StoreError> {
        // Says nothing about the bucket: mostly nobody is asked, and else another server.
        let signed = self.requests.perform(None, || {
            Box::pin(async move {
                let signed = self.signer.signed_url(reqwest::Method::GET, path, ttl).await;
                signed.map_err(|error| self.failure(&error))
            })
        });
        let url = signed.await?;
        if let Some(origin) = Origin::of(&url) {
            // Lost races set the same value.
            let _ = self.origin.set(origin);
        }
        Ok(url.into())
    }

    async fn upload(self: &Arc<Self>, object: &Object, source: &Source) -> Result<Stored, StoreError> {
        let ttl = object.link_lifetime.ttl.clamp(Duration::from_secs(1), MAX_TTL);
        let path = self.path(&Uuid::new_v4().to_string());
        let named = |error: StoreError| error.with_dataname(&*object.dataname);
        // Missing keys and the link's origin are known before a byte is sent.
        self.sign(&path, ttl).await.map_err(named)?;
        let (bucket, kept, doubt) = (Arc::clone(self), path.clone(), Doubt::default());
        let in_doubt = doubt.clone();
        let clean_up = CleanUp::on_drop(async move {
            if in_doubt.exists() && bucket.remove(&kept).await.is_err() {
                let (store, key) = (&bucket.requests.name, kept.as_ref());
                tracing::warn!(store, key, "a stopped upload could not be deleted and may be stored");
            }
        });
        let (path, doubt) = (&path, &doubt);
        let stored = self.requests.upload(self.origin.get(), object, || {
            Box::pin(async move {
                let sums = doubt.during(self.put(path, object, source)).await?;
                let uploaded = Uploaded::new("", source.len(), sums.sha256);
                Ok(Stored { uploaded, receipt: Receipt::new(path.as_ref()) })
            })
        });
        let Stored { mut uploaded, receipt } = match stored.await {
            Ok(stored) => stored,
            Err(error) => {
                let error = doubt.settle(error, path.as_ref(), self.remove(path)).await;
                clean_up.cancel();
                return Err(error);
            }
        };
        // Signed again: the time of the upload must not shorten the link's life.
        uploaded.expires_at = Some(OffsetDateTime::now_utc() + ttl);
        uploaded.url = self.sign(path, ttl).await.map_err(named)?;
        clean_up.cancel();
        self.requests.warn_once(RULES.change(object.link_lifetime));
        Ok(Stored { uploaded, receipt })
    }

    async fn put(&self, path: &Path, object: &Object, source: &Source) -> Result<Sums, Failure> {
        let local = |error| Failure::permanent(Kind::LocalFile, error);
        let (reading, chunks) = Reading::open(source, None).await.map_err(local)?;
        let mut chunks = pin!(chunks);
        object.report(0);
        if source.len() <= PART {
            let payload: Vec<Bytes> = chunks.try_collect().await.map_err(local)?;
            self.store.put(path, PutPayload::from_iter(payload)).await.map_err(|error| self.failure(&error))?;
        } else {
            let upload = self.store.put_multipart(path).await;
            let upload = upload.map_err(|error| self.failure(&error))?;
            let mut parts = Parts(Some(upload));
            let sent = async {
                let Some(upload) = &mut parts.0 else { return Ok(()) };
                self.send_parts(&mut **upload, &mut chunks, part_size(source.len()), object).await?;
                upload.complete().await.map(drop).map_err(|error| self.failure(&error))
            };
            let sent = sent.await;
            if let (Err(failure), Some(mut upload)) = (sent, parts.0.take()) {
                // The bucket's own rule for unfinished uploads is the fallback.
                let aborted = tokio::time::timeout(CLEAN_UP, upload.abort()).await;
                if !matches!(aborted, Ok(Ok(()))) {
                    tracing::warn!(store = self.requests.name, "the parts of a failed upload could not be removed");
                }
                return Err(failure);
            }
        }
        reading.sums().ok_or_else(|| Failure::temporary(Kind::Digest, "the server responded before it had all bytes"))
    }

    /// Deletes an object; one that is not there is deleted
    async fn remove(&self, path: &Path) -> Result<(), Failure> {
        match self.store.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => match self.failure(&error) {
                failure if Trouble::status(&failure) == Some(StatusCode::NOT_FOUND) => Ok(()),
                failure => Err(failure),
            },
        }
    }

    /// What an error of the bucket means
    fn failure(&self, error: &Error) -> Failure {
        Trouble::found(error).unwrap_or_else(|| {
            // Such an error may quote what the server said.
            let said = self.secrets.hide(&error.to_string());
            Failure::permanent(Kind::Rejected, shown(&said).into_owned())
        })
    }

    /// Sends parts of equal size, a few at a time, so that memory does not grow with the payload
    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        chunks: &mut (impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin),
        part_size: u64,
        object: &Object,
    ) -> Result<(), Failure> {
        let mut under_way = FuturesUnordered::new();
        let (mut part, mut size, mut done) = (Vec::new(), 0, 0);
        let mut sent = |part: Result<u64, Error>| {
            done += part.map_err(|error| self.failure(&error))?;
            object.report(done);
            Ok(())
        };
        loop {
            let chunk = chunks.try_next().await.map_err(|error| Failure::permanent(Kind::LocalFile, error))?;
            let ended = chunk.is_none();
            if let Some(chunk) = chunk {
                // Chunks divide parts evenly, so all parts but the last have the same size, as some servers want.
                size += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                part.push(chunk);
            }
            if size >= part_size || (ended && size > 0) {
                while under_way.len() >= IN_FLIGHT {
                    under_way.next().await.map_or(Ok(()), &mut sent)?;
                }
                let (bytes, payload) = (std::mem::take(&mut size), std::mem::take(&mut part));
                under_way.push(upload.put_part(PutPayload::from_iter(payload)).map_ok(move |()| bytes));
            }
            if ended {
                break;
            }
        }
        while let Some(part) = under_way.next().await {
            sent(part)?;
        }
        Ok(())
    }
}

/// The parts of a multipart upload; removed on drop, unless it was taken out
struct Parts(Option<Box<dyn MultipartUpload>>);

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else { return };
        drop(CleanUp::on_drop(async move {
            if upload.abort().await.is_err() {
                tracing::warn!("the parts of a stopped upload could not be removed");
            }
        }));
    }
}

/// What a bucket makes of a wish: a presigned link lives a week at most, and can be read as often as one likes
const RULES: LifetimeRules = LifetimeRules::new(OneShotRule::Never, ExpiryRule::AtMost(MAX_TTL));

/// The smallest multiple of [`PART`] that needs no more parts than are allowed
fn part_size(len: u64) -> u64 {
    len.div_ceil(MAX_PARTS).div_ceil(PART).max(1) * PART
}

impl Uploader for BucketStore {
    fn name(&self) -> Cow<'_, str> {
        (&*self.0.requests.name).into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(self.0.upload(object, source))
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let path = Path::from(receipt.secret());
            let path = &path;
            let deleted = self.0.requests.perform(self.0.origin.get(), || Box::pin(self.0.remove(path)));
            deleted.await.map_err(StoreError::deleting)
        })
    }

    fn origins(&self) -> Vec<Origin> {
        self.0.origin.get().cloned().into_iter().collect()
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        RULES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
    #[test]
    fn option_of_another_cloud_is_refused_by_its_name() {
        for (builder, option) in [
            (BucketStore::gcs("b").endpoint("http://127.0.0.1:1"), "`endpoint`"),
            (BucketStore::azure("b").region("us-east-1"), "`region`"),
            (BucketStore::azure("b").access_key("id", "s3cr3t"), "`access_key`"),
        ] {
            let error = builder.build().map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(option) && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn part_size_grows_with_the_object_to_keep_the_part_limit() {
        for (len, size) in [
            (PART + 1, PART),
            (PART * MAX_PARTS, PART),
            (PART * MAX_PARTS + 1, 2 * PART),
            (5_000_000_000_000, 60 * PART),
        ] {
            assert_eq!(part_size(len), size, "{len}");
            assert!(len.div_ceil(size) <= MAX_PARTS);
        }
    }
}
