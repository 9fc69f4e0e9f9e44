//! Who may ask: against pages of other sites that a browser has open beside ours.
//!
//! A page of another site can send requests here, but can not read the answers, unless its name is
//! made to resolve to our address ("DNS rebinding"): so a request must name us by an address or by a
//! name that is ours. A request for a job must also come from our own page: its origin is ours, and it
//! has the token that only our page can read.

use std::net::{IpAddr, Ipv6Addr};

use hyper::{
    Request, StatusCode,
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN},
};

use super::{feed::Feed, reply::JSON};

/// The field of the token.
pub(super) const TOKEN: &str = "x-hirte-token";
/// What a browser says about who makes a request (Fetch Metadata Request Headers).
const SITE: &str = "sec-fetch-site";

/// Why a request is refused.
pub(super) type Refusal = (StatusCode, String);

/// The host, with its port, that a request names, if it is one of ours: an address, `localhost` or one
/// of `names`.
pub(super) fn host<'r, B>(request: &'r Request<B>, names: &[String]) -> Result<&'r str, Refusal> {
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => only(request.headers(), HOST.as_str()),
    };
    let bad = |reason: &str| Err((StatusCode::BAD_REQUEST, reason.to_owned()));
    let Some(host) = host else {
        return bad("A request names its host once.");
    };
    let name = without_port(host);
    if is_address(name)
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        return Ok(host);
    }
    Err((
        StatusCode::FORBIDDEN,
        "The host of the request is none of this dashboard; --host adds a name.".to_owned(),
    ))
}

/// Whether a request for a job that names `host` comes from our page.
pub(super) fn control<B>(request: &Request<B>, host: &str, feed: &Feed) -> Result<(), Refusal> {
    let forbidden = |reason: &str| Err((StatusCode::FORBIDDEN, reason.to_owned()));
    let fields = request.headers();
    let token = only(fields, TOKEN).unwrap_or_default();
    match feed.is_token(token.as_bytes()) {
        None => return forbidden("This dashboard was started without --allow-control."),
        Some(false) => return forbidden("The token is not that of this page; load it again."),
        Some(true) => {}
    }
    if only(fields, CONTENT_TYPE.as_str()) != Some(JSON) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err((status, format!("The body has to be {JSON}.")));
    }
    let is_of_ours = |origin: &HeaderValue| {
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://"));
        authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    };
    if !fields.get_all(ORIGIN).iter().all(is_of_ours) {
        return forbidden("The request comes from a page of another origin.");
    }
    let is_same = |site: &HeaderValue| site == "same-origin";
    if !fields.get_all(SITE).iter().all(is_same) {
        return forbidden("The request comes from a page of another site.");
    }
    Ok(())
}

/// The text of a field that is there once.
fn only<'r>(fields: &'r HeaderMap, name: &str) -> Option<&'r str> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?;
    match values.next() {
        None => value.to_str().ok(),
        Some(_) => None,
    }
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn is_address(name: &str) -> bool {
    let v6 = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match v6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/api/jobs");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn hosts_are_addresses_localhost_and_names_that_were_given() {
        let names = ["fleet.example".to_owned()];
        for (given, is_ours) in [
            ("127.0.0.1:8420", true),
            ("192.168.1.10", true),
            ("[::1]:8420", true),
            ("localhost:8420", true),
            ("LOCALHOST", true),
            ("Fleet.Example", true),
            ("fleet.example:443", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[evil]", false),
            ("::1", false),
            ("", false),
        ] {
            let request = request(&[("host", given)]);
            assert_eq!(host(&request, &names).is_ok(), is_ours, "{given}");
        }
        let status = |fields: &[(&str, &str)]| host(&request(fields), &names).unwrap_err().0;
        assert_eq!(status(&[]), StatusCode::BAD_REQUEST);
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&twice), StatusCode::BAD_REQUEST);
        let mut absolute = request(&[("host", "localhost")]);
        *absolute.uri_mut() = "http://evil.example/".parse().unwrap();
        assert!(host(&absolute, &names).is_err());
    }

    #[test]
    fn a_job_is_asked_for_by_our_own_page_only() {
        let feed = Feed::new(String::new(), Some("secret".to_owned()));
        let ours = [
            ("x-hirte-token", "secret"),
            ("content-type", "application/json"),
            ("origin", "http://localhost:8420"),
            ("sec-fetch-site", "same-origin"),
        ];
        let check = |fields: &[(&str, &str)], feed: &Feed| {
            control(&request(fields), "localhost:8420", feed).map_err(|(status, _)| status)
        };
        assert_eq!(check(&ours, &feed), Ok(()));
        // A program sends neither of the last two.
        assert_eq!(check(&ours[..2], &feed), Ok(()));
        for (changed, value) in [
            (0, "secreT"),
            (0, "secret1"),
            (0, ""),
            (2, "http://localhost:8421"),
            (2, "https://evil.example"),
            (2, "null"),
            (3, "cross-site"),
            (3, "same-site"),
        ] {
            let mut fields = ours;
            fields[changed].1 = value;
            assert_eq!(check(&fields, &feed), Err(StatusCode::FORBIDDEN), "{value}");
        }
        let mut form = ours;
        form[1].1 = "text/plain";
        let refused = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(check(&form, &feed), refused);
        let without = Feed::new(String::new(), None);
        assert_eq!(check(&ours, &without), Err(StatusCode::FORBIDDEN));
    }
}
