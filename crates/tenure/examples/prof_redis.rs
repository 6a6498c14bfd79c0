//! temporary
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let tasks: usize = args[2].parse().unwrap();
    let locks = tenure::Locks::connect(&args[1]).await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let mut all = Vec::new();
    for t in 0..tasks {
        let (locks, done) = (locks.clone(), done.clone());
        let drop_it = args.get(3).is_some();
        all.push(tokio::spawn(async move {
            let mut x = 88172645463325252u64 ^ ((t as u64) << 20);
            loop {
                x ^= x << 13; x ^= x >> 7; x ^= x << 17;
                let g = locks.lock(format!("order:process:{}", x % 100_000)).acquire().await.unwrap();
                if drop_it { drop(g) } else { g.release().await.unwrap(); }
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut last = 0;
    for _ in 0..5 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let now = done.load(Ordering::Relaxed);
        println!("{}", now - last);
        last = now;
    }
    std::process::exit(0);
}
