//! Certificates that are made for a test, and a client that shows them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use host_harness::servers::client::Request;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use serde_json::{Value, json};

/// Far beyond what anything here takes; only a hang meets it.
const BOUND: Duration = Duration::from_secs(60);
/// A name that every server certificate stands for.
const SERVER: &str = "gate.example";

/// Who signs the others.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) name: String,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate with these names: `uri:…`, `dns:…`.
    pub(crate) fn issue(&self, subject: &str, names: &[&str]) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.distinguished_name.push(DnType::OrganizationName, "Test, Inc.");
        let name = |name: &&str| match name.split_once(':') {
            Some(("uri", uri)) => SanType::URI(uri.try_into().expect("ASCII")),
            Some(("dns", dns)) => SanType::DnsName(dns.try_into().expect("ASCII")),
            _ => panic!("{name}"),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { name: subject.to_owned(), certificate, key }
    }

    /// Envoy's side of a connection.
    pub(crate) fn downstream(&self, server: &Identity) -> Value {
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_certificates": [{
                        "certificate_chain": { "inline_string": server.certificate.pem() },
                        "private_key": { "inline_string": server.key.serialize_pem() },
                    }],
                    "validation_context": { "trusted_ca": { "inline_string": self.certificate.pem() } },
                },
            },
        })
    }

    /// Sends a request over TLS, and reads what comes until Envoy closes: status and headers.
    pub(crate) fn send(
        &self,
        addr: SocketAddr,
        client: Option<&Identity>,
        with_server_name: bool,
        request: &Request,
    ) -> (u16, Vec<(String, Vec<u8>)>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has");
        // Some of the servers' certificates have no name at all: who answers is not what is tested.
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, .. }) => {
                let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(chain, key).expect("a key that fits")
            }
        };
        config.enable_sni = with_server_name;
        let name = ServerName::try_from(SERVER).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let stream = TcpStream::connect(addr).expect("Envoy listens");
        stream.set_read_timeout(Some(BOUND)).expect("a timeout");
        let mut stream = StreamOwned::new(connection, stream);
        let request = request.clone().header("connection", "close");
        stream.write_all(&request.to_bytes(addr)).expect("Envoy reads");
        let mut received = Vec::new();
        // Envoy may close without a last word.
        let _ = stream.read_to_end(&mut received);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        head.parse(&received)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&received)));
        let headers =
            head.headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()));
        (head.code.unwrap_or_default(), headers.collect())
    }
}

/// Takes any server for the one that was meant.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
