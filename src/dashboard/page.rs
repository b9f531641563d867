//! The page, with the picture of this moment in it: history is there before any script asks for it.

use askama::Template;
use bytes::Bytes;
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::assets;
use super::board::Board;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Page<'a> {
    version: &'a str,
    topic: &'a str,
    modules: Vec<&'static str>,
    /// JSON that can't end its script element.
    snapshot: &'a str,
}

/// The page of a second ago at most: its script goes on from there.
pub fn reply(board: &Board) -> impl Reply + use<> {
    let html = board.page(|json| render(board.topic(), json));
    let status = match html.is_empty() {
        true => StatusCode::INTERNAL_SERVER_ERROR,
        false => StatusCode::OK,
    };
    let html = warp::http::Response::new(html);
    let html = warp::reply::with_header(html, CONTENT_TYPE, "text/html; charset=utf-8");
    let html = warp::reply::with_header(html, CACHE_CONTROL, "no-store");
    warp::reply::with_status(html, status)
}

/// Nothing where the template fails.
fn render(topic: &str, json: &[u8]) -> Bytes {
    let page = Page {
        version: &assets::VERSION,
        topic,
        modules: assets::modules().collect(),
        snapshot: &inert(json),
    };
    let html = page
        .render()
        .map(|html| html.into_bytes().into_boxed_slice());
    html.map(Bytes::from).unwrap_or_else(|error| {
        tracing::error!(%error, "failed to render the page");
        Bytes::new()
    })
}

/// JSON as it may stand inside a script element: a `<` occurs in its strings only, and has an escape.
fn inert(json: &[u8]) -> String {
    String::from_utf8_lossy(json).replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_name_never_ends_the_script_element() {
        let json = serde_json::to_vec(&["</script><img onerror=alert(1)>", "<!--"]).expect("json");
        let inert = inert(&json);
        assert!(!inert.contains('<'));
        let back: [String; 2] = serde_json::from_str(&inert).expect("still the same JSON");
        assert_eq!(back[0], "</script><img onerror=alert(1)>");
    }
}
