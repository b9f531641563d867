//! The routes without a port.

use super::*;
use std::time::Duration;

use crate::dashboard::board::Showing;
use crate::dashboard::fields::Source;
use crate::kafka::config::KafkaArgs;
use crate::kafka::tail::{Batch, Phase, Record, Status, TailSettings};
use crate::shutdown::Shutdown;
use tokio::sync::watch;
use warp::test::{RequestBuilder, request};

fn board(phase: Phase) -> Arc<Board> {
    let status = Status {
        phase,
        partitions: 0,
        leaderless: Vec::new(),
        lag: None,
        skipped: 0,
    };
    let showing = Showing {
        topic: "markov".into(),
        kafka: "kafka:9092".into(),
        window: 300_000,
        field: None,
        refresh: Duration::from_millis(100),
    };
    Arc::new(Board::new(showing, watch::channel(status).1))
}

fn fields(board: Arc<Board>) -> Arc<Fields> {
    let kafka = KafkaArgs {
        bootstrap_servers: "127.0.0.1:1".into(),
        properties: Vec::new(),
    };
    let tail = TailSettings {
        kafka: kafka.settings().expect("settings"),
        topic: "markov".into(),
        window: Duration::from_secs(300),
    };
    let source = Source {
        tail,
        refresh: Duration::from_millis(100),
        shutdown: Shutdown::manual().1,
    };
    Arc::new(Fields::new(source, board))
}

fn access(token: Option<&str>) -> Access {
    Access {
        hosts: vec!["dash.example.org".into()],
        token: token.map(str::to_owned),
    }
}

async fn ask(request: RequestBuilder) -> Response<Bytes> {
    let board = board(Phase::Missing);
    board.close();
    request
        .reply(&routes(
            fields(board),
            access(None),
            Metrics::new("loading"),
        ))
        .await
}

fn get(path: &str) -> RequestBuilder {
    request().path(path).header("host", "localhost:8080")
}

#[tokio::test]
async fn page_comes_with_its_picture_and_strict_headers() {
    let reply = ask(get("/")).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
    for (name, value) in HEADERS {
        assert_eq!(reply.headers()[*name], value);
    }
    assert!(!reply.headers().contains_key("access-control-allow-origin"));
    let html = std::str::from_utf8(reply.body()).expect("text");
    assert!(html.contains("\"topic\":\"markov\""));
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "nothing from elsewhere"
    );
}

#[tokio::test]
async fn foreign_names_foreign_pages_and_writes_are_refused() {
    assert_eq!(
        ask(request().path("/").header("host", "evil.example"))
            .await
            .status(),
        403
    );
    assert_eq!(ask(request().path("/")).await.status(), 403);
    let foreign = get("/api/stream")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "cors");
    assert_eq!(ask(foreign).await.status(), 403);
    let link = get("/")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate");
    assert_eq!(ask(link).await.status(), 200);
    assert_eq!(ask(get("/").method("POST")).await.status(), 405);
    assert_eq!(ask(get("/nothing")).await.status(), 404);
    assert_eq!(ask(get("/static/x/../../etc/passwd")).await.status(), 404);
}

#[tokio::test]
async fn files_are_kept_for_ever_under_their_version() {
    let path = format!("/static/{}/app.js", *assets::VERSION);
    let reply = ask(get(&path)).await;
    assert_eq!(
        (reply.status(), &reply.headers()[CACHE_CONTROL]),
        (StatusCode::OK, &HeaderValue::from_static(FOR_EVER))
    );
    let again = ask(get(&path).header(IF_NONE_MATCH, reply.headers()[ETAG].clone())).await;
    assert_eq!(
        (again.status(), again.body().len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    assert_eq!(ask(get("/static/0/app.js")).await.status(), 404);
}

#[tokio::test]
async fn stream_begins_with_the_picture() {
    let reply = ask(get("/api/stream")).await;
    assert_eq!(reply.headers()[CONTENT_TYPE], "text/event-stream");
    let text = std::str::from_utf8(reply.body()).expect("text");
    assert!(
        text.starts_with("retry: 1000\n\nid: ") && text.contains("\"about\""),
        "{text}"
    );
}

#[tokio::test]
async fn readiness_waits_for_kafka_and_health_does_not() {
    let loading = routes(
        fields(board(Phase::Connecting)),
        access(None),
        Metrics::new("loading"),
    );
    assert_eq!(get("/readyz").reply(&loading).await.status(), 503);
    assert_eq!(get("/healthz").reply(&loading).await.status(), 200);
    assert_eq!(ask(get("/readyz")).await.status(), 200);
}

#[tokio::test]
async fn token_in_the_address_becomes_a_cookie() {
    let closed = board(Phase::Missing);
    closed.close();
    let routes = routes(
        fields(closed),
        access(Some("secret")),
        Metrics::new("loading"),
    );
    let refused = get("/").reply(&routes).await;
    assert_eq!(refused.status(), 403);
    assert!(
        refused
            .body()
            .starts_with(b"the dashboard asks for a token")
    );
    let shown = get("/?token=secret").reply(&routes).await;
    assert_eq!(
        (shown.status(), &shown.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &HeaderValue::from_static("/"))
    );
    let cookie = shown.headers()[SET_COOKIE].to_str().expect("text");
    assert_eq!(
        cookie,
        "fireworks_token_8080=secret; Path=/; HttpOnly; SameSite=Lax"
    );
    let known = || get("/").header("cookie", "fireworks_token_8080=secret");
    assert_eq!(known().reply(&routes).await.status(), 200);
    let field = get("/?field=a%20b&token=secret").reply(&routes).await;
    assert_eq!(field.headers()[LOCATION], "/?field=a%20b");
    let wrong = known().path("/?token=other").reply(&routes).await;
    assert_eq!(wrong.status(), StatusCode::SEE_OTHER);
    assert!(
        !wrong.headers().contains_key(SET_COOKIE),
        "only our own token is kept"
    );
    let open = ask(get("/?token=x")).await;
    assert!(
        !open.headers().contains_key(SET_COOKIE),
        "there is none to keep"
    );
}

#[tokio::test]
async fn foreign_pages_change_nothing() {
    let want = |site: &str, mode: &str| {
        let want = get("/api/want?id=a").header("sec-fetch-site", site);
        ask(want.header("sec-fetch-mode", mode))
    };
    assert_eq!(want("same-origin", "cors").await.status(), 200);
    assert_eq!(want("none", "navigate").await.status(), 200);
    for (site, mode) in [
        ("cross-site", "navigate"),
        ("same-site", "no-cors"),
        ("same-site", "navigate"),
    ] {
        assert_eq!(want(site, mode).await.status(), 403, "{site} {mode}");
    }
    for (origin, status) in [
        ("http://localhost:8080", 200),
        ("http://localhost:3000", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        for path in ["/api/want?id=a", "/api/stream"] {
            let reply = ask(get(path).header("origin", origin)).await;
            assert_eq!(reply.status(), status, "{origin} {path}");
        }
    }
}

#[tokio::test]
async fn field_that_no_record_has_is_not_found() {
    let board = board(Phase::Live);
    let mut batch = Batch::default();
    batch.push(Record {
        partition: 0,
        offset: 0,
        timestamp: Some(1_700_000_000_000),
        appended: false,
        history: false,
        key: Some(b"d"),
        value: Some(br#"{"volt":3.3}"#),
    });
    board.apply(&batch);
    let routes = routes(fields(board), access(None), Metrics::new("loading"));
    assert_eq!(get("/?field=volt").reply(&routes).await.status(), 200);
    let reply = get("/?field=celsius").reply(&routes).await;
    assert_eq!(reply.status(), 404);
    assert!(reply.body().starts_with(b"the records have no such"));
}

#[tokio::test]
async fn devices_are_searched_and_wanted_by_name() {
    let reply = ask(get("/api/devices?search=a")).await;
    assert_eq!(reply.body(), r#"{"all":0,"devices":[]}"#);
    assert_eq!(ask(get("/api/want?id=a")).await.body(), "false");
}

#[tokio::test]
async fn metrics_are_served_beside_the_page() {
    let reply = ask(get("/metrics")).await;
    let text = std::str::from_utf8(reply.body()).expect("text");
    assert!(text.contains("\nfireworks_build_info{version="), "{text}");
}
