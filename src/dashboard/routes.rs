//! What can be asked of the dashboard, and who may ask.
//!
//! Only reads. The stream of a topic belongs to the pages of this server: a foreign page can't read it
//! (no CORS header, ever), nor by giving its own name our address (the Host check), nor show us in a frame.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    LOCATION, SET_COOKIE,
};
use warp::http::{Response, StatusCode};
use warp::path::FullPath;
use warp::reject::{MethodNotAllowed, Reject};
use warp::{Filter, Rejection, Reply};

use super::access::{self, Access, Refusal};
use super::board::Board;
use super::fields::{Fields, NoField};
use super::{assets, page};
use crate::metrics::{self, Metrics};

/// Sent with everything.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Answers to a search.
const FOUND: usize = 40;

/// Everything the server answers.
pub fn routes(
    fields: Arc<Fields>,
    access: Access,
    metrics: Metrics,
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
    let with_main = {
        let main = Arc::clone(fields.main());
        warp::any().map(move || Arc::clone(&main))
    };
    let with_board = warp::query::<Query>().and_then(move |query: Query| {
        let board = fields.board(query.field.as_deref());
        async move {
            board
                .map(|board| (query, board))
                .map_err(warp::reject::custom)
        }
    });
    let with_board = with_board.untuple_one();
    let own = access.clone();
    let page = warp::path::end()
        .and(raw_query())
        .and(warp::header::optional::<String>(HOST.as_str()))
        .and(with_board.clone())
        .map(
            move |raw: String, host: Option<String>, query: Query, board: Arc<Board>| match query
                .token
            {
                None => Box::new(page::reply(&board)) as Box<dyn Reply>,
                Some(token) => {
                    let token = own
                        .token
                        .as_deref()
                        .filter(|own| access::is_same(&token, own));
                    Box::new(redirect(&raw, token, host.as_deref().unwrap_or_default()))
                }
            },
        );
    let stream = warp::path!("api" / "stream")
        .and(warp::header::optional::<String>("last-event-id"))
        .and(with_board.clone())
        .map(|last: Option<String>, query: Query, board: Arc<Board>| {
            let viewer = board.join(last.or(query.since).as_deref());
            warp::reply::with_header(
                fresh(warp::reply::stream(viewer)),
                CONTENT_TYPE,
                "text/event-stream",
            )
        });
    let snapshot = warp::path!("api" / "snapshot")
        .and(with_board.clone())
        .map(|_, board: Arc<Board>| json(board.snapshot()));
    let devices = warp::path!("api" / "devices").and(with_board.clone()).map(
        |query: Query, board: Arc<Board>| {
            json(board.search(query.search.as_deref().unwrap_or_default(), FOUND))
        },
    );
    let want =
        warp::path!("api" / "want")
            .and(with_board)
            .map(|query: Query, board: Arc<Board>| {
                json(
                    board
                        .want(query.id.as_deref().unwrap_or_default())
                        .to_string()
                        .into(),
                )
            });
    let time = warp::path!("api" / "time").map(|| json(super::board::now().to_string().into()));
    let file = warp::path!("static" / String / String)
        .and(warp::header::optional::<String>(IF_NONE_MATCH.as_str()))
        .map(|version: String, name: String, known: Option<String>| {
            file(&version, &name, known.as_deref())
        });
    let health = warp::path!("healthz").map(|| fresh("ok\n"));
    let ready = warp::path!("readyz")
        .and(with_main)
        .map(|board: Arc<Board>| match board.is_ready() {
            true => warp::reply::with_status("ok\n", StatusCode::OK),
            false => warp::reply::with_status("loading\n", StatusCode::SERVICE_UNAVAILABLE),
        });
    let metrics = warp::path!("metrics").map(move || fresh(metrics::reply(&metrics)));
    let asked = page
        .or(stream)
        .or(snapshot)
        .or(devices)
        .or(want)
        .or(time)
        .or(file)
        .or(health)
        .or(ready)
        .or(metrics);
    guard(access)
        .and(asked)
        .recover(explain)
        .with(warp::reply::with::headers(headers()))
}

/// Lets pass what only reads and may be answered.
fn guard(
    access: Access,
) -> impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::get()
        .or(warp::head())
        .unify()
        .and(warp::path::full())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and_then(move |path: FullPath, query: String, headers: HeaderMap| {
            let checked = access.check(path.as_str(), &query, &headers);
            async move { checked.map_err(warp::reject::custom) }
        })
        .untuple_one()
}

/// What stands behind the question mark, as it came.
fn raw_query()
-> impl Filter<Extract = (String,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

impl Reject for Refusal {}
impl Reject for NoField {}

/// What may stand behind the question mark.
#[derive(Debug, Default, serde::Deserialize)]
struct Query {
    field: Option<String>,
    /// Where a page that already has a picture goes on; a browser sends Last-Event-ID by itself only later.
    since: Option<String>,
    search: Option<String>,
    id: Option<String>,
    token: Option<String>,
}

/// The same address without the token in it; and the token, where it is ours, as a cookie instead.
fn redirect(query: &str, token: Option<&str>, host: &str) -> Response<Bytes> {
    let others: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.starts_with("token="))
        .collect();
    let address = match others.is_empty() {
        true => "/".to_owned(),
        false => format!("/?{}", others.join("&")),
    };
    let mut response = Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(LOCATION, address)
        .header(CACHE_CONTROL, "no-store");
    if let Some(token) = token {
        let name = access::cookie_name(host);
        response = response.header(
            SET_COOKIE,
            format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax"),
        );
    }
    response.body(Bytes::new()).unwrap_or_else(|_| {
        let mut bad = Response::new(Bytes::from_static(b"bad request\n"));
        *bad.status_mut() = StatusCode::BAD_REQUEST;
        bad
    })
}

/// A reply that holds for this moment only.
fn fresh(reply: impl Reply) -> impl Reply {
    warp::reply::with_header(reply, CACHE_CONTROL, "no-store")
}

fn json(body: Bytes) -> impl Reply {
    fresh(warp::reply::with_header(
        Response::new(body),
        CONTENT_TYPE,
        "application/json",
    ))
}

fn file(version: &str, name: &str, known: Option<&str>) -> Response<Bytes> {
    let etag = format!("\"{}\"", *assets::VERSION);
    let response = Response::builder()
        .header(ETAG, &etag)
        .header(CACHE_CONTROL, FOR_EVER);
    let asset = assets::find(name).filter(|_| version == *assets::VERSION);
    let response = match asset {
        None => Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(Bytes::from_static(b"not found\n")),
        Some(_) if known == Some(etag.as_str()) => {
            response.status(StatusCode::NOT_MODIFIED).body(Bytes::new())
        }
        Some(asset) => response
            .header(CONTENT_TYPE, asset.content_type)
            .body(asset.body()),
    };
    response.expect("names and values of these headers are valid")
}

/// A refusal says what would help.
async fn explain(rejection: Rejection) -> Result<impl Reply, Infallible> {
    let (status, text) = if let Some(refusal) = rejection.find::<Refusal>() {
        let text = match refusal {
            Refusal::Host => {
                "this name isn't one of the dashboard's: use localhost or an address, or start it with --allow-host NAME\n"
            }
            Refusal::Token => {
                "the dashboard asks for a token: open it as /?token=TOKEN, or send it as `authorization: Bearer`\n"
            }
            Refusal::Page => "the dashboard answers its own pages only\n",
        };
        (StatusCode::FORBIDDEN, text)
    } else if let Some(none) = rejection.find::<NoField>() {
        match none {
            NoField::Unknown => (
                StatusCode::NOT_FOUND,
                "the records have no such numeric field\n",
            ),
            NoField::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many fields are looked at: close some of their pages\n",
            ),
        }
    } else if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "not found\n")
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "the dashboard is only read\n",
        )
    } else {
        (StatusCode::BAD_REQUEST, "bad request\n")
    };
    Ok(warp::reply::with_status(text, status))
}

fn headers() -> HeaderMap {
    HEADERS
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
