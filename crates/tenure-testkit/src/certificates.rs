//! Certificates that are made at run time: an authority, and what it says of a server.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// An authority that nobody knows but who is given its [`file`](Authority::file). Its files go with the value.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a server, in PEM.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    /// When no file can be written.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("it can sign for itself");
        write(&directory.path().join("authority.pem"), &certificate.pem());
        Authority { directory, issuer: Issuer::new(params, key) }
    }

    /// Its certificate, in PEM: what clients trust.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// What a server of this host name shows, and no other.
    ///
    /// # Panics
    /// When no file can be written.
    pub fn certify(&self, host: &str) -> Certified {
        let params = CertificateParams::new([host.to_owned()]).expect("it is the name of a host");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign");
        let file = |kind: &str| self.directory.path().join(format!("{host}.{kind}"));
        let certified = Certified { certificate: file("pem"), key: file("key") };
        write(&certified.certificate, &certificate.pem());
        write(&certified.key, &key.serialize_pem());
        certified
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file can be written");
}
