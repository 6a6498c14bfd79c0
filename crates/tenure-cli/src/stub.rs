#![allow(missing_docs, clippy::unwrap_used)]
use crate::args::RunArgs;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tenure::lease::Why;
use tenure::{Digest, FencingToken, LeaseId, Names};

#[derive(Debug)]
pub(crate) struct Locks(std::path::PathBuf, Arc<OwnedFd>);
#[derive(Debug)]
pub(crate) struct Guard(Names, #[allow(dead_code)] File);
impl Locks {
    pub(crate) fn new(dir: std::path::PathBuf) -> Self {
        let f = File::create(dir.join("life")).unwrap();
        Locks(dir, Arc::new(f.into()))
    }
    pub(crate) fn provider(&self) -> &Locks {
        self
    }
    pub(crate) fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        Some(self.1.clone())
    }
    pub(crate) async fn close(&self, _: Duration) {}
    pub(crate) async fn acquire_for_run(&self, args: &RunArgs) -> tenure::Result<Option<Guard>> {
        let names = Names::parse(&args.names)?;
        let f = File::create(self.0.join(names.first().as_str())).unwrap();
        if args.once {
            if f.try_lock().is_err() {
                return Ok(None);
            }
        } else {
            while f.try_lock().is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Some(Guard(names, f)))
    }
}
impl Guard {
    pub(crate) fn names(&self) -> &Names {
        &self.0
    }
    pub(crate) fn token(&self) -> FencingToken {
        FencingToken::new(1).unwrap()
    }
    pub(crate) fn lease(&self) -> Digest {
        LeaseId::random().digest()
    }
    pub(crate) fn safe_remaining(&self) -> Duration {
        Duration::from_secs(30)
    }
    pub(crate) async fn lost(&self) -> Why {
        std::future::pending().await
    }
    pub(crate) async fn release(self) -> tenure::Result<()> {
        Ok(())
    }
}
