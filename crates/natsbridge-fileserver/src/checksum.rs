//! Checksums of uploads, by which a client checks what the file server has stored.

use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};

/// A checksum; its text is lower-case hexadecimal
///
/// It detects errors of networks and disks. The SHA-256 in the envelope protects against attackers.
#[derive(Debug, Clone)]
pub(crate) enum Checksum {
    /// Plik's; it takes twice the time of SHA-256
    Md5(Md5),
    /// The one that S3 takes by default; it takes a twentieth of the time of SHA-256
    Crc64Nvme(Box<crc_fast::Digest>),
}

impl Checksum {
    pub(crate) fn md5() -> Self {
        Self::Md5(Md5::new())
    }

    pub(crate) fn crc64nvme() -> Self {
        Self::Crc64Nvme(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)))
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Md5(_) => "MD5",
            Self::Crc64Nvme(_) => "CRC-64/NVME",
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(md5) => md5.update(bytes),
            Self::Crc64Nvme(crc) => crc.update(bytes),
        }
    }

    pub(crate) fn finish(&self) -> String {
        match self {
            Self::Md5(md5) => md5.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            Self::Crc64Nvme(crc) => format!("{:016x}", crc.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_published_ones_however_the_bytes_arrive() {
        // RFC 1321 and the catalogue of parametrised CRCs give these.
        for (mut sum, text) in
            [(Checksum::md5(), "25f9e794323b453885f5181f1b624d0b"), (Checksum::crc64nvme(), "ae8b14860a799888")]
        {
            for piece in [&b"1"[..], b"", b"2345678", b"9"] {
                sum.update(piece);
            }
            assert_eq!(sum.finish(), text);
        }
        assert_eq!(Checksum::crc64nvme().finish(), "0000000000000000");
    }
}
