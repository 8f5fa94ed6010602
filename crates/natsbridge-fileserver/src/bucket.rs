//! Payloads in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt, TryStreamExt};
use natsbridge_core::{Object, Source, Uploaded};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::body::{Reading, Sums};
use crate::breaker::{Breaker, BreakerPolicy};
use crate::client::install_crypto_provider;
use crate::observe;
use crate::retry::{RetryPolicy, deadline};
use crate::roots::is_untrusted;
use crate::{ConfigError, Origin, Receipt, RootCertificates, StoreError, StoreErrorKind as Kind, Stored, Uploader};

/// Bytes in one part of a multipart upload; payloads up to this size are sent in one request
const PART: u64 = 8 * 1024 * 1024;
/// Parts that are on their way at the same time
const IN_FLIGHT: usize = 2;
/// Most parts that S3 takes
const MAX_PARTS: u64 = 10_000;
/// The longest life of a presigned URL: a rule of the signature, version 4
const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Stores payloads in a bucket; a link is a presigned GET
///
/// Links live as long as asked for, but at most 7 days, and with temporary credentials not longer than these. The
/// object itself stays until it is deleted: give the bucket a lifecycle rule for the prefix, which also removes what
/// interrupted multipart uploads leave. Buckets know no one-shot; [`Uploaded`] says so.
///
/// Clones share their connections.
#[derive(Debug, Clone)]
pub struct BucketStore(Arc<Bucket>);

struct Bucket {
    name: String,
    store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
    prefix: String,
    total_timeout: Duration,
    breaker: Breaker,
    /// Where links lead: known from the first one on
    origin: OnceLock<Origin>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl BucketStore {
    /// A bucket on S3 or a server that speaks its protocol
    ///
    /// Credentials and region come from the usual places (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, web identity, container and instance roles) unless the
    /// builder sets them.
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn s3(bucket: impl Into<String>) -> BucketStoreBuilder {
        let cloud = object_store::aws::AmazonS3Builder::from_env();
        BucketStoreBuilder::new(Cloud::S3(Box::new(cloud)), bucket.into())
    }

    /// A bucket on Google Cloud Storage, with credentials from the usual places (`GOOGLE_APPLICATION_CREDENTIALS` …)
    #[cfg(feature = "gcs")]
    #[must_use]
    pub fn gcs(bucket: impl Into<String>) -> BucketStoreBuilder {
        let cloud = object_store::gcp::GoogleCloudStorageBuilder::from_env();
        BucketStoreBuilder::new(Cloud::Gcs(Box::new(cloud)), bucket.into())
    }

    /// A container on Azure Blob Storage, with credentials from the usual places (`AZURE_STORAGE_ACCOUNT_NAME` …)
    #[cfg(feature = "azure")]
    #[must_use]
    pub fn azure(container: impl Into<String>) -> BucketStoreBuilder {
        let cloud = object_store::azure::MicrosoftAzureBuilder::from_env();
        BucketStoreBuilder::new(Cloud::Azure(Box::new(cloud)), container.into())
    }

    /// Signs a link to find out which origin the links of this bucket lead to
    ///
    /// # Errors
    /// [`StoreError`] if there are no credentials to sign with.
    pub async fn discover(&self) -> Result<Vec<Origin>, StoreError> {
        let bucket = &*self.0;
        bucket.sign(&bucket.path("origin"), Duration::from_secs(1)).await.map_err(|error| bucket.error(error))?;
        Ok(self.origins())
    }
}

/// Configures a [`BucketStore`]
#[derive(Clone)]
pub struct BucketStoreBuilder {
    cloud: Cloud,
    bucket: String,
    prefix: String,
    total_timeout: Duration,
    retry: RetryPolicy,
    breaker: BreakerPolicy,
    roots: RootCertificates,
    /// An option that was set and is not one of this cloud
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

impl BucketStoreBuilder {
    fn new(cloud: Cloud, bucket: String) -> Self {
        Self {
            cloud,
            bucket,
            prefix: "natsbridge/".to_owned(),
            total_timeout: Duration::from_secs(30 * 60),
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            roots: RootCertificates::default(),
            misplaced: None,
        }
    }

    /// Sets what keys begin with, default `natsbridge/`
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the URL of a server that speaks S3's protocol; `http` is allowed if the URL says so
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        let plain = url.starts_with("http://");
        self.s3_option("endpoint", |s3| s3.with_endpoint(url).with_allow_http(plain))
    }

    /// Sets the region, default from the environment or `us-east-1`
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn region(self, region: impl Into<String>) -> Self {
        self.s3_option("region", |s3| s3.with_region(region))
    }

    /// Sets the access key and its secret (NFR-303)
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

    /// Sets how long one upload may take with all its retries, default 30 minutes
    #[must_use]
    pub const fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// Sets how often and when failed requests are repeated
    #[must_use]
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets when a server that can't be reached is left alone
    #[must_use]
    pub const fn breaker(mut self, breaker: BreakerPolicy) -> Self {
        self.breaker = breaker;
        self
    }

    /// Sets authorities that are trusted besides the system's, default none
    #[must_use]
    pub fn root_certificates(mut self, roots: RootCertificates) -> Self {
        self.roots = roots;
        self
    }

    /// Makes the store; nothing is sent yet
    ///
    /// # Errors
    /// [`ConfigError`] if something that is needed is missing or can't be used.
    pub fn build(self) -> Result<BucketStore, ConfigError> {
        install_crypto_provider();
        if let Some(option) = self.misplaced {
            let problem = format!("`{option}` is an option of S3 alone; set the environment variables of this cloud");
            return Err(ConfigError::new("the bucket", problem));
        }
        let (max_retries, init_backoff, max_backoff) = self.retry.values();
        let backoff = BackoffConfig { init_backoff, max_backoff, base: 2.0 };
        let retry = RetryConfig {
            backoff,
            max_retries: usize::try_from(max_retries).unwrap_or(usize::MAX),
            retry_timeout: self.total_timeout,
        };
        let refused = |what, error: Error| ConfigError::new(what, "the bucket can't be used").with_source(error);
        let (kind, store, signer): (_, Arc<dyn ObjectStore>, Arc<dyn Signer>) = match self.cloud {
            #[cfg(feature = "s3")]
            Cloud::S3(cloud) => {
                let built =
                    cloud.with_bucket_name(&self.bucket).with_retry(retry).with_http_connector(self.roots).build();
                let store = Arc::new(built.map_err(|error| refused("s3", error))?);
                ("s3", Arc::<object_store::aws::AmazonS3>::clone(&store), store)
            }
            #[cfg(feature = "gcs")]
            Cloud::Gcs(cloud) => {
                let built =
                    cloud.with_bucket_name(&self.bucket).with_retry(retry).with_http_connector(self.roots).build();
                let store = Arc::new(built.map_err(|error| refused("gcs", error))?);
                ("gcs", Arc::<object_store::gcp::GoogleCloudStorage>::clone(&store), store)
            }
            #[cfg(feature = "azure")]
            Cloud::Azure(cloud) => {
                let built =
                    cloud.with_container_name(&self.bucket).with_retry(retry).with_http_connector(self.roots).build();
                let store = Arc::new(built.map_err(|error| refused("azure", error))?);
                ("azure", Arc::<object_store::azure::MicrosoftAzure>::clone(&store), store)
            }
        };
        Ok(BucketStore(Arc::new(Bucket {
            name: format!("{kind} bucket {}", self.bucket),
            store,
            signer,
            prefix: self.prefix,
            total_timeout: self.total_timeout,
            breaker: Breaker::new(self.breaker),
            origin: OnceLock::new(),
        })))
    }
}

/// Why an upload failed: by the bucket's fault or by the source's
enum Failure {
    Bucket(Error),
    Local(std::io::Error),
    Unfinished,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Bucket(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Local(error)
    }
}

impl Bucket {
    fn path(&self, id: &str) -> Path {
        Path::from(format!("{}{id}", self.prefix))
    }

    async fn sign(&self, path: &Path, ttl: Duration) -> Result<String, Error> {
        let url = self.signer.signed_url(reqwest::Method::GET, path, ttl).await?;
        if let Some(origin) = Origin::of(&url) {
            // Lost races set the same value.
            let _ = self.origin.set(origin);
        }
        Ok(url.into())
    }

    async fn upload(&self, object: &Object, source: &Source) -> Result<Stored, StoreError> {
        let failed = |error: StoreError| error.about(&*object.dataname);
        let ttl = object.life.ttl.clamp(Duration::from_secs(1), MAX_TTL);
        let path = self.path(&Uuid::new_v4().to_string());
        // Signing asks nobody, so missing credentials and the link's origin are known before a byte is sent.
        self.sign(&path, ttl).await.map_err(|error| failed(self.error(error)))?;
        let permit = match self.origin.get() {
            Some(origin) => Some(
                self.breaker
                    .admit(origin)
                    .map_err(|open| failed(StoreError::new(Kind::Unreachable, &*self.name).with_source(open)))?,
            ),
            None => None,
        };
        let until = deadline(self.total_timeout);
        let result = match tokio::time::timeout_at(until, self.put(&path, source)).await {
            Ok(result) => result.map_err(|failure| match failure {
                Failure::Bucket(error) => self.error(error),
                Failure::Local(error) => StoreError::new(Kind::LocalFile, &*self.name).with_source(error),
                Failure::Unfinished => StoreError::new(Kind::Digest, &*self.name),
            }),
            Err(elapsed) => Err(StoreError::new(Kind::Timeout, &*self.name).with_source(elapsed)),
        };
        let result = result.map_err(|error| failed(error.attempts_made(1)));
        match (&result, permit) {
            (Err(error), permit) if error.kind() == Kind::LocalFile => drop(permit),
            (result, Some(permit)) => permit
                .reached(!matches!(result, Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Timeout))),
            (_, None) => {}
        }
        let sums = result?;
        // Signed again: the time of the upload must not shorten the link's life.
        let expires_at = OffsetDateTime::now_utc() + ttl;
        let url = self.sign(&path, ttl).await.map_err(|error| failed(self.error(error)))?;
        let uploaded = Uploaded::new(url, source.len(), sums.sha256).expires_at(Some(expires_at));
        Ok(Stored { uploaded, receipt: Receipt::new(path.as_ref()) })
    }

    async fn put(&self, path: &Path, source: &Source) -> Result<Sums, Failure> {
        let (reading, chunks) = Reading::open(source, None).await?;
        let mut chunks = pin!(chunks);
        if source.len() <= PART {
            let payload: Vec<Bytes> = chunks.try_collect().await?;
            self.store.put(path, PutPayload::from_iter(payload)).await?;
        } else {
            let mut upload = self.store.put_multipart(path).await?;
            if let Err(failure) = send_parts(&mut *upload, &mut chunks, part_size(source.len())).await {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(store = self.name, error = %error, "the parts of a failed upload could not be removed");
                }
                return Err(failure);
            }
            upload.complete().await?;
        }
        reading.sums().ok_or(Failure::Unfinished)
    }

    /// What an error of the bucket means; retries are over when it comes here
    fn error(&self, error: Error) -> StoreError {
        let kind = match &error {
            _ if is_untrusted(&error) => Kind::Untrusted,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Kind::Refused,
            Error::Generic { .. } | Error::JoinError { .. } => Kind::Unreachable,
            _ => Kind::Rejected,
        };
        StoreError::new(kind, &*self.name).with_source(error)
    }
}

/// The smallest multiple of [`PART`] that needs no more parts than are allowed
fn part_size(len: u64) -> u64 {
    len.div_ceil(MAX_PARTS).div_ceil(PART).max(1) * PART
}

/// Sends parts of equal size, a few at a time, so that memory does not grow with the payload
async fn send_parts(
    upload: &mut dyn MultipartUpload,
    chunks: &mut (impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin),
    part_size: u64,
) -> Result<(), Failure> {
    let mut under_way = FuturesUnordered::new();
    let (mut part, mut size) = (Vec::new(), 0);
    loop {
        let chunk = chunks.try_next().await?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            // Chunks divide parts evenly, so all parts but the last have the same size, as some servers want.
            size += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            part.push(chunk);
        }
        if size >= part_size || (ended && size > 0) {
            while under_way.len() >= IN_FLIGHT {
                under_way.next().await.transpose()?;
            }
            under_way.push(upload.put_part(PutPayload::from_iter(std::mem::take(&mut part))));
            size = 0;
        }
        if ended {
            break;
        }
    }
    while let Some(sent) = under_way.next().await {
        sent?;
    }
    Ok(())
}

impl Uploader for BucketStore {
    fn name(&self) -> Cow<'_, str> {
        (&*self.0.name).into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let started = Instant::now();
            let result = self.0.upload(object, source).await;
            observe::uploaded(started.elapsed(), result.as_ref().map_or_else(StoreError::code, |_| "ok"));
            result
        })
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self.0.store.delete(&Path::from(receipt.secret())).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.0.error(error).attempts_made(1)),
            }
        })
    }

    fn origins(&self) -> Vec<Origin> {
        self.0.origin.get().cloned().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
    #[test]
    fn an_option_of_another_cloud_is_refused_by_its_name() {
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
    fn a_part_is_as_large_as_the_number_of_parts_demands() {
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
