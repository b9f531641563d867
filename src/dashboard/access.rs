//! Who may ask: by which name, from which page, and with which token.
//!
//! A refusal is a value here; `routes` turns it into an answer. Compares secrets without telling by its time
//! how much of a guess is right; it is no match for a network that others listen on.

use std::net::IpAddr;

use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};

/// Asked for from elsewhere, it would change what others see.
const CHANGES: &[&str] = &["/api/want"];

/// What has to be true of a request.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Names under which the dashboard may be asked for, beside addresses and localhost.
    pub hosts: Vec<String>,
    pub token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name isn't one of ours.
    Host,
    /// A foreign page asks.
    Page,
    /// The token is missing, or another one.
    Token,
}

impl Access {
    /// Whether a request may be answered, as far as its headers tell.
    pub fn check(&self, path: &str, query: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST.as_str()).unwrap_or_default();
        if !self.allow_host(host) {
            return Err(Refusal::Host);
        }
        // Another port of this machine is the same site, and another page all the same.
        let is_foreign = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
        let is_link = text("sec-fetch-mode") == Some("navigate") && !CHANGES.contains(&path);
        let origin = headers
            .get(ORIGIN)
            .map(|origin| origin.to_str().unwrap_or_default());
        let is_own = |origin: &str| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        };
        if is_foreign && !is_link || origin.is_some_and(|origin| !is_own(origin)) {
            return Err(Refusal::Page);
        }
        // Probes have no token, and learn nothing.
        let is_probe = matches!(path, "/healthz" | "/readyz");
        let Some(token) = self.token.as_deref().filter(|_| !is_probe) else {
            return Ok(());
        };
        let bearer = text(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        let cookies = text(COOKIE.as_str()).unwrap_or_default().split(';');
        let cookie = cookies.filter_map(|cookie| cookie.trim().split_once('='));
        let mut shown = cookie
            .filter(|(name, _)| *name == cookie_name(host))
            .map(|(_, value)| value)
            .chain(bearer)
            .chain(in_query(query));
        match shown.any(|shown| is_same(shown, token)) {
            true => Ok(()),
            false => Err(Refusal::Token),
        }
    }

    /// Whether a Host header names this server. A page that had its own name point here (DNS rebinding)
    /// would be of our origin to the browser; an address can't be made to point elsewhere.
    pub fn allow_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(&name);
        address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.hosts.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(&name) || allowed.eq_ignore_ascii_case(host)
            })
    }
}

/// The cookie that holds the token once it has been shown. Cookies know no ports: two dashboards of one machine
/// would take turns with the same name.
pub fn cookie_name(host: &str) -> String {
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let port =
        port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    match port {
        Some(port) => format!("fireworks_token_{port}"),
        None => "fireworks_token".to_owned(),
    }
}

/// The token in an address.
pub fn in_query(query: &str) -> Option<&str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix("token="))
}

/// Whether the token that is shown is ours.
pub fn is_same(shown: &str, token: &str) -> bool {
    let differences = shown
        .bytes()
        .zip(token.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    shown.len() == token.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        access: &Access,
        path: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        map.insert("host", "localhost:8080".parse().expect("a value"));
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        access.check(path, query, &map)
    }

    #[test]
    fn host_is_an_address_localhost_or_a_name_that_was_given() {
        let access = Access {
            hosts: vec!["dash.example.org".into(), "kiosk:8443".into()],
            token: None,
        };
        assert!(!access.allow_host("kiosk") && !access.allow_host("kiosk:80"));
        for host in [
            "kiosk:8443",
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.1.2.3",
            "[::1]",
            "dash.example.org:80",
            "Dash.Example.org.",
            "a.localhost:1",
        ] {
            assert!(access.allow_host(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "",
            ":",
            "localhost:x",
            "dash.example.org.evil",
            "notlocalhost",
        ] {
            assert!(!access.allow_host(host), "{host}");
        }
    }

    #[test]
    fn token_is_shown_by_cookie_header_or_address_and_probes_need_none() {
        let access = Access {
            hosts: Vec::new(),
            token: Some("secret".into()),
        };
        assert_eq!(check(&access, "/", "", &[]), Err(Refusal::Token));
        assert_eq!(check(&access, "/", "token=secre", &[]), Err(Refusal::Token));
        assert_eq!(
            check(&access, "/", "token=secret2", &[]),
            Err(Refusal::Token)
        );
        assert_eq!(check(&access, "/", "field=x&token=secret", &[]), Ok(()));
        let cookie = ("cookie", "a=b; fireworks_token_8080=secret");
        assert_eq!(check(&access, "/api/stream", "", &[cookie]), Ok(()));
        let other = ("cookie", "fireworks_token_8081=secret");
        assert_eq!(
            check(&access, "/api/stream", "", &[other]),
            Err(Refusal::Token)
        );
        let bearer = ("authorization", "Bearer secret");
        assert_eq!(check(&access, "/api/stream", "", &[bearer]), Ok(()));
        assert_eq!(check(&access, "/healthz", "", &[]), Ok(()));
        assert_eq!(check(&Access::default(), "/", "", &[]), Ok(()));
    }
}
