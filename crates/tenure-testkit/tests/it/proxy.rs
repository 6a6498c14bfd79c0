//! Each fault of the proxy, as a client of a real server sees it and as the server does.

use std::io::ErrorKind;
use std::time::Duration;

use tenure_testkit::{Cut, RedisServer, TcpProxy, Way, seed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Long for a reply over loopback: what has not come by then does not come.
const MOMENT: Duration = Duration::from_millis(200);

/// A server, and a proxy in front of it.
async fn both() -> (RedisServer, TcpProxy) {
    let server = RedisServer::start();
    let proxy = TcpProxy::start(server.addr()).await;
    (server, proxy)
}

async fn connect(proxy: &TcpProxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.unwrap()
}

/// Counts one up and reads the reply, which is expected to be `count`.
async fn increment(stream: &mut TcpStream, count: u32) {
    stream.write_all(b"INCR n\r\n").await.unwrap();
    expect(stream, count).await;
}

async fn expect(stream: &mut TcpStream, count: u32) {
    let wanted = format!(":{count}\r\n");
    let mut reply = vec![0; wanted.len()];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(String::from_utf8(reply).unwrap(), wanted);
}

/// What the server has counted, asked past the proxy.
fn counted(server: &RedisServer) -> u32 {
    server.command::<Option<u32>>(&["GET", "n"]).unwrap_or_default()
}

async fn nothing_comes(stream: &mut TcpStream) {
    assert!(timeout(MOMENT, stream.read_u8()).await.is_err(), "something came through");
}

#[tokio::test]
async fn what_passes_without_a_fault_is_whole() {
    let (_server, proxy) = both().await;
    let mut streams = [connect(&proxy).await, connect(&proxy).await];
    let long = "x".repeat(300_000);
    for stream in &mut streams {
        // Too long for a command on one line.
        let set = format!("*3\r\n$3\r\nSET\r\n$4\r\nlong\r\n$300000\r\n{long}\r\nGET long\r\n");
        stream.write_all(set.as_bytes()).await.unwrap();
        let wanted = format!("+OK\r\n$300000\r\n{long}\r\n");
        let mut reply = vec![0; wanted.len()];
        stream.read_exact(&mut reply).await.unwrap();
        assert!(reply == wanted.as_bytes(), "the reply is not what the server sent");
    }
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_client_that_is_done_still_has_its_replies() {
    let (_server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"INCR n\r\nQUIT\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    assert!(replies.starts_with(":1\r\n"), "{replies}");
}

#[tokio::test]
async fn a_delay_is_added_on_each_way_until_it_is_healed() {
    let (_server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    proxy.delay(Duration::from_millis(150));
    let began = Instant::now();
    increment(&mut stream, 1).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    proxy.delay(Duration::from_secs(3_600));
    proxy.heal();
    increment(&mut stream, 2).await;
}

#[tokio::test]
async fn what_is_delayed_travels_together_and_in_order() {
    const ALL: u32 = 50;
    let (_server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    stream.set_nodelay(true).unwrap();
    proxy.delay(Duration::from_millis(300));
    for _ in 0..ALL {
        stream.write_all(b"INCR n\r\n").await.unwrap();
        tokio::task::yield_now().await;
    }
    let replies = async {
        for count in 1..=ALL {
            expect(&mut stream, count).await;
        }
    };
    // One after the other they would take half a minute.
    timeout(Duration::from_secs(10), replies).await.expect("the delays do not add up");
}

#[tokio::test]
async fn a_cut_ends_all_connections_in_the_way_that_was_asked_for() {
    let (_server, proxy) = both().await;
    for how in [Cut::Close, Cut::Reset] {
        let mut streams = [connect(&proxy).await, connect(&proxy).await];
        for stream in &mut streams {
            stream.write_all(b"PING\r\n").await.unwrap();
            stream.read_exact(&mut [0; 7]).await.unwrap();
        }
        proxy.cut(how).await;
        for stream in &mut streams {
            match how {
                Cut::Close => assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0),
                Cut::Reset => {
                    assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
                }
            }
        }
    }
    connect(&proxy).await.write_all(b"PING\r\n").await.unwrap();
}

#[tokio::test]
async fn the_server_too_sees_that_a_connection_is_cut() {
    let (server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"CLIENT SETNAME far\r\n").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    proxy.cut(Cut::Reset).await;
    let gone = async {
        while server.command::<String>(&["CLIENT", "LIST"]).contains("name=far") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("the server learns of it");
}

#[tokio::test]
async fn held_requests_do_not_reach_the_server_until_it_is_healed() {
    let (server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    increment(&mut stream, 1).await;
    proxy.hold(Way::Request);
    stream.write_all(b"INCR n\r\n").await.unwrap();
    nothing_comes(&mut stream).await;
    assert_eq!(counted(&server), 1);
    proxy.heal();
    expect(&mut stream, 2).await;
}

#[tokio::test]
async fn held_replies_are_of_requests_that_were_executed() {
    let (server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    proxy.hold(Way::Reply);
    stream.write_all(b"INCR n\r\n").await.unwrap();
    nothing_comes(&mut stream).await;
    assert_eq!(counted(&server), 1);
    proxy.heal();
    expect(&mut stream, 1).await;
}

#[tokio::test]
async fn a_held_connection_stays_open_when_the_server_dies() {
    let (mut server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    increment(&mut stream, 1).await;
    proxy.hold(Way::Request);
    proxy.hold(Way::Reply);
    server.kill();
    nothing_comes(&mut stream).await;
    proxy.heal();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    // Nobody listens behind the proxy now.
    let mut late = connect(&proxy).await;
    assert!(late.read_u8().await.is_err());
}

#[tokio::test]
async fn a_lost_reply_is_of_a_request_that_was_executed_once() {
    let (server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    increment(&mut stream, 1).await;
    proxy.lose_reply_after(0);
    stream.write_all(b"INCR n\r\n").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(counted(&server), 2);
    // That was the one: the next connection is whole.
    increment(&mut connect(&proxy).await, 3).await;
}

#[tokio::test]
async fn a_reply_is_cut_at_the_byte_that_was_asked_for() {
    let (_server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    proxy.lose_reply_after(6);
    increment(&mut stream, 1).await;
    stream.write_all(b"INCR n\r\n").await.unwrap();
    let mut reply = Vec::new();
    let cut = stream.read_to_end(&mut reply).await.unwrap_err();
    assert_eq!((reply.as_slice(), cut.kind()), (b":2".as_slice(), ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_sliced_reply_comes_in_many_pieces_and_is_whole() {
    let (_server, proxy) = both().await;
    let mut stream = connect(&proxy).await;
    let wanted = format!("$1000\r\n{}\r\n", "x".repeat(1_000));
    stream.write_all(format!("SET x {}\r\n", "x".repeat(1_000)).as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    proxy.slice();
    stream.write_all(b"GET x\r\n").await.unwrap();
    let (mut reply, mut pieces) = (Vec::new(), 0);
    while reply.len() < wanted.len() {
        assert!(stream.read_buf(&mut reply).await.unwrap() > 0, "the connection ended");
        pieces += 1;
    }
    assert_eq!(String::from_utf8(reply).unwrap(), wanted);
    assert!(pieces > 10, "pieces={pieces}");
}

#[tokio::test]
async fn chaos_loses_its_share_of_replies_and_no_request() {
    const ALL: u32 = 300;
    let (server, proxy) = both().await;
    proxy.chaos(seed(), 0.3);
    let mut stream = connect(&proxy).await;
    let mut lost = 0;
    for _ in 0..ALL {
        stream.write_all(b"INCR n\r\n").await.unwrap();
        if stream.read(&mut [0; 16]).await.unwrap_or_default() == 0 {
            lost += 1;
            stream = connect(&proxy).await;
        }
    }
    assert_eq!(counted(&server), ALL);
    proxy.heal();
    increment(&mut stream, ALL + 1).await;
    // Six deviations around 90: one run in a thousand million fails by chance.
    assert!((42..=138).contains(&lost), "lost={lost}");
    assert_eq!(proxy.accepted(), lost + 1);
}
