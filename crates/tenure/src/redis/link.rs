//! A connection to the server: how it is made, checked and made ready for steps.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};

use super::resp::{Args, Decoder, Reply};
use super::scripts;
use super::url::{Place, Target, Tls};
use crate::error::{Error, Result};

/// The oldest server that has all that the scripts use.
const OLDEST: u32 = 7;

/// How much is read at a time.
const READ: usize = 64 * 1024;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that is ready for steps.
pub(super) struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    decoder: Decoder,
    incoming: BytesMut,
    pub(super) outgoing: BytesMut,
    /// What the server knows it by.
    pub(super) session: Session,
    /// By which the server knows the steps' script.
    pub(super) script: Bytes,
    /// Whether the connection before this one is certainly closed at the server, so that nothing of it can come late.
    pub(super) is_alone: bool,
}

/// A connection in the eyes of its server.
#[derive(Clone, Default)]
pub(super) struct Session {
    /// The run of the server: after a restart it gives the same numbers to other connections.
    run: String,
    id: i64,
}

/// What a new connection must know.
pub(super) struct Intro<'a> {
    pub(super) target: &'a Target,
    /// The channel on which the store tells this process what happens.
    pub(super) channel: &'a [u8],
    /// The connection before.
    pub(super) before: Option<&'a Session>,
    /// The greatest epoch seen.
    pub(super) floor: u32,
}

impl Link {
    /// Connects, logs in, checks that the server is one that locks can be trusted to, and makes it ready: in one trip, unless
    /// there was a connection before or the store is a new one.
    ///
    /// # Errors
    /// `InvalidInput` when the server or the login is of no use and stays so; `Unavailable` when it may work later.
    pub(super) async fn open(intro: &Intro<'_>) -> Result<Self> {
        let within = intro.target.connect_timeout;
        let late = || Error::unavailable("connect", format!("the server did not answer within={within:?}"));
        tokio::time::timeout(within, Link::greet(intro)).await.map_err(|_| late())?
    }

    async fn greet(intro: &Intro<'_>) -> Result<Self> {
        let target = intro.target;
        let (reader, writer) = tokio::io::split(dial(target).await?);
        let mut link = Link {
            reader,
            writer,
            decoder: Decoder::default(),
            incoming: BytesMut::with_capacity(READ),
            outgoing: BytesMut::with_capacity(READ),
            session: Session::default(),
            script: Bytes::new(),
            is_alone: true,
        };
        let mut hello = Args::of(["HELLO", "3"]);
        if let Some((user, password)) = &target.login {
            ["AUTH", user, password].iter().for_each(|word| hello.push(word.as_bytes()));
        }
        let database = target.database.to_string();
        let registration = registration(intro);
        let commands = [
            hello,
            Args::of(["CLIENT", "SETNAME", "tenure"]),
            Args::of(["SELECT", &database]),
            Args::of(["CLIENT", "ID"]),
            // Whether the user may: no connection has the last id.
            Args::of(["CLIENT", "KILL", "ID", &i64::MAX.to_string()]),
            Args::of(["INFO"]),
            Args::of(["SCRIPT", "LOAD", scripts::STEP]),
            Args::of([b"SUBSCRIBE".as_slice(), intro.channel]),
        ];
        commands.iter().chain([&registration]).for_each(|command| command.write(&mut link.outgoing, &[]));
        link.flush().await?;
        proper(link.read().await?)?;
        // A name is for people: a server that forbids it is none the worse.
        link.read().await?;
        if let Reply::Error(error) = link.read().await?
            && target.database != 0
        {
            return Err(no_database(&error));
        }
        link.session.id = proper(link.read().await?)?.int().unwrap_or(0);
        link.is_alone = link.read().await?.int().is_some();
        let info = proper(link.read().await?)?;
        let info = String::from_utf8_lossy(info.text().unwrap_or_default());
        check(&info, target)?;
        field(&info, "run_id").clone_into(&mut link.session.run);
        link.script = match proper(link.read().await?)? {
            Reply::Text(sha) => sha,
            _ => return Err(strange("SCRIPT LOAD")),
        };
        match link.read_any().await? {
            Reply::Push(_) => {}
            Reply::Error(error) => return Err(refused(&error)),
            _ => return Err(strange("SUBSCRIBE")),
        }
        link.register(&registration).await?;
        link.close_before(intro.before).await?;
        Ok(link)
    }

    /// Has the server close the connection before, unless that ended with the server.
    async fn close_before(&mut self, before: Option<&Session>) -> Result<()> {
        let Some(before) = before.filter(|before| before.run == self.session.run) else { return Ok(()) };
        Args::of(["CLIENT", "KILL", "ID", &before.id.to_string()]).write(&mut self.outgoing, &[]);
        self.flush().await?;
        // How many were there and are closed now; an error when the user may not do it.
        self.is_alone = self.read().await?.int().is_some();
        Ok(())
    }

    /// Sees to it that the store has an epoch for this incarnation of the server; asked for once already.
    async fn register(&mut self, registration: &Args) -> Result<()> {
        loop {
            let answer = self.read().await?;
            if let Reply::Error(error) = &answer
                && error.starts_with("LAYOUT")
            {
                let what = "another version of this library uses these keys; choose another prefix";
                return Err(Error::invalid("url", what));
            }
            let answer = proper(answer)?;
            let Some([epoch, wait]) = answer.list() else { return Err(strange("the registration")) };
            if epoch.int() > Some(0) {
                return Ok(());
            }
            let wait = u64::try_from(wait.int().unwrap_or(0)).unwrap_or(0).clamp(1, 1_000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            registration.write(&mut self.outgoing, &[]);
            self.flush().await?;
        }
    }

    async fn flush(&mut self) -> Result<()> {
        while !self.outgoing.is_empty() {
            self.writer.write_buf(&mut self.outgoing).await.map_err(|error| broken(&error))?;
        }
        Ok(())
    }

    /// The next reply that was asked for.
    async fn read(&mut self) -> Result<Reply> {
        loop {
            match self.read_any().await? {
                Reply::Push(_) => {}
                reply => return Ok(reply),
            }
        }
    }

    async fn read_any(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = self.next().map_err(|error| broken(&error))? {
                return Ok(reply);
            }
            self.incoming.reserve(READ);
            ended(self.reader.read_buf(&mut self.incoming).await).map_err(|error| broken(&error))?;
        }
    }

    /// The next reply of what has come.
    pub(super) fn next(&mut self) -> io::Result<Option<Reply>> {
        self.decoder.next(&mut self.incoming).map_err(io::Error::other)
    }

    /// Waits until something has come, or can be written where something is to be.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn advance(&mut self) -> io::Result<()> {
        let Link { reader, writer, incoming, outgoing, .. } = self;
        tokio::select! {
            biased;
            written = writer.write_buf(outgoing), if !outgoing.is_empty() => written.map(drop),
            read = reader.read_buf({ incoming.reserve(READ); incoming }) => ended(read),
        }
    }
}

fn ended(read: io::Result<usize>) -> io::Result<()> {
    match read? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
        _ => Ok(()),
    }
}

/// What asks for an epoch of this incarnation of the server.
fn registration(intro: &Intro<'_>) -> Args {
    let mut args = Args::of(["EVAL", scripts::REGISTER, "1", &format!("{}meta", intro.target.prefix)]);
    args.number(intro.floor.into());
    args.push(scripts::LAYOUT.as_bytes());
    args
}

/// That the server is one that locks can be trusted to.
fn check(info: &str, target: &Target) -> Result<()> {
    let field = |name: &str| field(info, name);
    let version = field("redis_version");
    if version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0) < OLDEST {
        let what = format!("the server is too old; from Redis 7.0 on version={version}");
        return Err(Error::invalid("url", what));
    }
    if field("cluster_enabled") == "1" {
        return Err(Error::invalid("url", "the server is part of a cluster, which is not supported yet"));
    }
    if field("role") != "master" {
        return Err(Error::unavailable("connect", "the server is a replica; ask for its master"));
    }
    check_eviction(info, target)
}

/// A field of what the server says of itself; empty when it says nothing of it.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// A server that throws keys away when its memory is full throws away locks, those with a ttl first.
pub(super) fn check_eviction(info: &str, target: &Target) -> Result<()> {
    let policy = field(info, "maxmemory_policy");
    if target.may_evict || policy == "noeviction" || policy.is_empty() {
        return Ok(());
    }
    let what = "the server may evict locks; set maxmemory-policy noeviction, or bear it with evict=accept in the url";
    Err(Error::invalid("url", format!("{what} policy={policy}")))
}

async fn dial(target: &Target) -> Result<Box<dyn Stream>> {
    match &target.place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| broken(&error))?;
            Ok(Box::new(stream))
        }
        Place::Tcp { host, port, tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| broken(&error))?;
            tend(&stream, target).map_err(|error| broken(&error))?;
            match tls {
                None => Ok(Box::new(stream)),
                Some(tls) => encrypt(stream, host, tls).await,
            }
        }
    }
}

/// A peer that is gone without a word is noticed within seconds, also while nothing is sent.
fn tend(stream: &TcpStream, target: &Target) -> io::Result<()> {
    let second = Duration::from_secs(1);
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(second * 5).with_interval(second).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(target.timeout * 2 + second))?;
    Ok(())
}

async fn encrypt(stream: TcpStream, host: &str, tls: &Tls) -> Result<Box<dyn Stream>> {
    let bad = |what: String| Error::invalid("url", what);
    let mut roots = RootCertStore::empty();
    match &tls.authority {
        Some(path) => {
            let unreadable = |error| bad(format!("the certificates of ca cannot be read: {error}"));
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                roots.add(certificate).map_err(|error| bad(format!("ca is of no use: {error}")))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("connect", error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| bad("the host is no name for TLS".to_owned()))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| broken(&error))?;
    Ok(Box::new(stream))
}

fn broken(error: &io::Error) -> Error {
    Error::unavailable("connect", format!("the server cannot be reached: {error}"))
}

fn strange(what: &'static str) -> Error {
    Error::unavailable("connect", format!("the server gave no proper answer to={what}"))
}

fn proper(reply: Reply) -> Result<Reply> {
    match reply {
        Reply::Error(error) => Err(refused(&error)),
        reply => Ok(reply),
    }
}

/// What an error of the server says of a database that was chosen.
fn no_database(error: &str) -> Error {
    match error.split(' ').next() {
        Some("ERR") => Error::invalid("url", format!("the server has no such database: {error}")),
        _ => refused(error),
    }
}

/// What an error of the server says of the login, or of the server. Its text has no secret: it never repeats what was sent.
fn refused(error: &str) -> Error {
    let code = error.split(' ').next().unwrap_or_default();
    match code {
        "WRONGPASS" | "NOAUTH" => Error::invalid("url", "the server does not take this user and password"),
        "NOPERM" => Error::invalid(
            "url",
            format!("the user may not do what locks need; docs/redis.md lists it: {error}"),
        ),
        _ => Error::unavailable("connect", format!("the server refused: {error}")),
    }
}
