use std::net::SocketAddr;

use arc_swap::ArcSwapOption;
use pgwarden_config::SecretText;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::meters::Meters;
use crate::status::{Report, Source};

/// A process about which there is nothing to say.
#[derive(Debug)]
struct Nothing;

impl Source for Nothing {
    fn report(&self) -> Report {
        Report::default()
    }

    fn processes(&self, _database: &str) -> Vec<u32> {
        Vec::new()
    }
}

/// A running admin listener.
struct Served {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    meters: Arc<Meters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn serving(token: Option<&str>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, meters) = (Arc::new(Readiness::default()), Arc::new(Meters::new()));
    let state = AdminState {
        meters: Arc::clone(&meters),
        readiness: Arc::clone(&readiness),
        holds: Arc::default(),
        status: Arc::new(Nothing),
        reports: Arc::new(crate::report::Live::new(|| crate::report::Terms {
            directory: None,
            rules: crate::report::RULES,
            keys: crate::report::Keys::None,
            databases: Vec::new(),
        })),
        token: Arc::new(ArcSwapOption::from_pointee(token.map(|token| SecretText::new(token.to_owned())))),
    };
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { stopped.await.unwrap_or(()) };
    let task = tokio::spawn(serve(listener, state, shutdown));
    Served { address, readiness, meters, stop, task }
}

impl Served {
    /// Sends bytes and reads until the other side closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Status and the whole answer.
    async fn ask(&self, line: &str, headers: &str) -> (u16, String) {
        let answer = self.raw(format!("{line} HTTP/1.1\r\nHost: admin\r\n{headers}\r\n").as_bytes()).await;
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), "").await
    }
}

#[tokio::test]
async fn it_is_healthy_for_as_long_as_it_runs() {
    let served = serving(None).await;
    served.readiness.draining();
    let (status, answer) = served.get("/healthz").await;
    assert_eq!(status, 200);
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[tokio::test]
async fn it_is_ready_once_the_server_was_reached() {
    let served = serving(None).await;
    let (status, answer) = served.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(answer.contains("content-type: application/json"), "{answer}");
    assert!(answer.contains(r#""reasons":["upstream_untried"]"#), "{answer}");
    served.readiness.upstream_reached();
    assert_eq!(served.get("/readyz").await.0, 200);
    served.readiness.upstream_lost();
    served.readiness.draining();
    let (status, answer) = served.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(answer.contains(r#""reasons":["draining","upstream_unreachable"]"#), "{answer}");
}

#[tokio::test]
async fn metrics_come_in_prometheus_text_form() {
    let served = serving(None).await;
    let client = served.meters.client();
    let (status, answer) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\npgwarden_clients 1\n"), "{answer}");
    drop(client);
    assert!(served.get("/metrics").await.1.contains("\npgwarden_clients 0\n"));
}

#[tokio::test]
async fn the_status_comes_as_json_that_can_be_read_back() {
    let served = serving(None).await;
    let (status, answer) = served.get("/status").await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: application/json"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Report>(body).unwrap(), Report::default());
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_json() {
    let served = serving(None).await;
    for (line, expected) in [
        ("GET /", 404),
        ("GET /metrics/x", 404),
        ("POST /nowhere", 404),
        ("POST /metrics", 405),
        ("POST /status", 405),
        ("DELETE /healthz", 405),
    ] {
        let (status, answer) = served.ask(line, "").await;
        assert_eq!(status, expected, "{line}");
        assert!(answer.contains("content-type: application/json"), "{line}: {answer}");
        assert!(answer.contains("{\"error\":"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn with_a_token_only_health_is_shown_to_everybody() {
    let served = serving(Some("right")).await;
    served.readiness.upstream_reached();
    assert_eq!(served.get("/healthz").await.0, 200);
    for path in ["/readyz", "/metrics", "/status", "/nowhere", "/healthz/", "//healthz"] {
        for headers in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer rightly\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Basic right\r\n",
            "Authorization: right\r\n",
        ] {
            let (status, answer) = served.ask(&format!("GET {path}"), headers).await;
            assert_eq!(status, 401, "{path} with {headers:?}");
            assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
            assert!(!answer.contains("pgwarden_"), "{answer}");
        }
    }
    assert_eq!(served.ask("GET /metrics", "Authorization: Bearer right\r\n").await.0, 200);
    assert_eq!(served.ask("GET /readyz", "authorization: bearer right\r\n").await.0, 200);
    assert_eq!(served.ask("GET /nowhere", "Authorization: Bearer right\r\n").await.0, 404);
    assert_eq!(served.ask("POST /metrics", "").await.0, 401);
}

#[tokio::test]
async fn a_head_over_the_limits_is_refused() {
    let served = serving(None).await;
    let many = "a: b\r\n".repeat(HEADERS + 1);
    assert_eq!(served.ask("GET /healthz", &many).await.0, 431);
    // No end of the head: the answer comes as soon as the limit is passed.
    let long = format!("GET /healthz HTTP/1.1\r\na: {}", "b".repeat(HEAD_BYTES));
    assert!(served.raw(long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let served = serving(None).await;
    assert!(served.raw(b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_says_nothing_is_sent_away() {
    let served = serving(None).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed or reset, but not before the deadline and not never.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn callers_that_say_nothing_do_not_use_up_more_than_their_slots() {
    let served = serving(None).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    let waiting = served.get("/healthz");
    tokio::pin!(waiting);
    // The listener is busy until one of them leaves.
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("answered although every slot is taken"),
        () = tokio::task::yield_now() => {}
    }
    drop(silent.pop());
    assert_eq!(waiting.await.0, 200);
}

#[tokio::test]
async fn it_ends_when_told_to() {
    let served = serving(None).await;
    served.stop.send(()).unwrap();
    served.task.await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn a_browser_logs_in_by_a_form_and_others_by_their_token() {
    let served = serving(Some("right")).await;
    let (status, answer) = served.ask("GET /report", "Accept: text/html\r\n").await;
    assert_eq!(status, 401);
    assert!(answer.contains("<form") && answer.contains("content-security-policy:"), "{answer}");
    assert_eq!(served.ask("GET /report.json", "").await.0, 401);
    let post = |body: &'static str| {
        let length = body.len();
        format!("POST /report/login HTTP/1.1\r\nHost: admin\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let wrong = served.raw(post("token=wrong").as_bytes()).await;
    assert!(wrong.starts_with("HTTP/1.1 401 ") && !wrong.contains("set-cookie"), "{wrong}");
    let right = served.raw(post("token=right").as_bytes()).await;
    assert!(right.starts_with("HTTP/1.1 303 ") && right.contains("location: /report\r\n"), "{right}");
    let cookie = right.split("set-cookie: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    // There is no trail here: but whoever reads that has been let in.
    for (line, headers) in
        [("GET /report", cookie.as_str()), ("GET /report.json", "Authorization: Bearer right\r\n")]
    {
        let (status, answer) = served.ask(line, headers).await;
        assert_eq!(status, 404, "{answer}");
        assert!(answer.contains("audit.directory is not set"), "{answer}");
    }
    assert_eq!(served.ask("GET /metrics", &cookie).await.0, 401, "the cookie is for the report alone");
    assert_eq!(served.ask("GET /report/login", "").await.0, 405);
}

#[tokio::test]
async fn no_web_site_reads_along_by_a_name_of_its_own() {
    let served = serving(None).await;
    let (status, answer) = served.ask("GET /report.json", "").await;
    assert_eq!(status, 421, "Host: admin is a name: {answer}");
    let local = "GET /report.json HTTP/1.1\r\nHost: localhost:1\r\n\r\n";
    assert!(served.raw(local.as_bytes()).await.starts_with("HTTP/1.1 404 "));
    let wrong = "GET /report.json?since=soon HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert!(served.raw(wrong.as_bytes()).await.starts_with("HTTP/1.1 400 "));
}
