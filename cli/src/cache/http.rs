//! HTTP as model downloads need it: patient with bad lines, plain about refusals, careful with the token.
use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

/// How often an attempt is repeated that got not a byte further.
const RETRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// A connection that says nothing for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 8;

/// An HTTP client that shows its token to one server only.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// Why an attempt ended early.
pub(super) enum Fault {
    /// Another attempt may go better; `advanced` says that this one was not in vain.
    Passing {
        error: anyhow::Error,
        advanced: bool,
    },
    Lasting(anyhow::Error),
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Fault {
        Fault::Lasting(error)
    }
}

/// An answer with status 200, 206 or 416, and what the redirects on the way to it said of the file.
pub(super) struct Answer {
    pub response: Response<Body>,
    /// Names the version of the file: the hub's own tag, else the last server's.
    pub etag: Option<String>,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<&str>) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed by hand: the hub tells a file's hash only on the way.
            .max_redirects(0)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("heddle/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .build();
        Client { agent: config.new_agent(), endpoint: endpoint.to_string(), token: token.map(String::from) }
    }

    /// Reads a small JSON document.
    pub(super) fn json<T: DeserializeOwned>(&self, url: &str) -> anyhow::Result<T> {
        let text = patiently(|| {
            let mut answer = self.get(url, None)?;
            let body = answer.response.body_mut().read_to_string();
            body.map_err(|error| Fault::Passing { error: unreachable_server(url, error), advanced: false })
        })?;
        serde_json::from_str(&text).with_context(|| format!("{url} does not answer as a hub does"))
    }

    /// Asks for a file, from its byte `start` on.
    pub(super) fn get(&self, url: &str, start: Option<u64>) -> Result<Answer, Fault> {
        let (mut url, mut linked) = (url.to_string(), None);
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&url);
            if let Some(start) = start {
                request = request.header("range", format!("bytes={start}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => {
                    Fault::Passing { error: unreachable_server(&url, error), advanced: false }
                }
                error => Fault::Lasting(unreachable_server(&url, error)),
            })?;
            linked = linked.or_else(|| header(response.headers(), "x-linked-etag"));
            match header(response.headers(), "location") {
                Some(to) if response.status().is_redirection() => url = follow(&url, &to)?,
                _ => {
                    refuse_error_status(&url, &response)?;
                    let etag = linked.or_else(|| header(response.headers(), "etag"));
                    return Ok(Answer { response, etag });
                }
            }
        }
        Err(Fault::Lasting(anyhow!("{url} redirects more than {REDIRECTS} times")))
    }
}

/// Repeats `attempt` after passing faults, for as long as there is progress.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Fault>) -> anyhow::Result<T> {
    let mut failed = 0;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(Fault::Passing { error, advanced: false }) if failed == RETRIES => return Err(error),
            Err(Fault::Passing { advanced, .. }) => {
                failed = if advanced { 0 } else { failed };
                std::thread::sleep(FIRST_PAUSE * 2_u32.pow(failed));
                failed += 1;
            }
            Err(Fault::Lasting(error)) => return Err(error),
        }
    }
}

/// A header's text, without the marks and quotes of an entity tag.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(text.trim().trim_start_matches("W/").trim_matches('"').to_string())
}

/// What could not be asked, in a form that tells a user without network what is amiss.
pub(super) fn unreachable_server(url: &str, error: ureq::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot reach {} (is there a network?)", origin(url)))
}

fn refuse_error_status(url: &str, response: &Response<Body>) -> Result<(), Fault> {
    let status = response.status();
    let text = match status.as_u16() {
        // 416 is the answer to a range past the end: the caller knows what it means.
        200 | 206 | 416 => return Ok(()),
        401 | 403 => "there is no such model, or it asks for a token that has access: set HF_TOKEN",
        404 => "there is no such model or file",
        _ => "the server refuses",
    };
    let error = anyhow!("{url} answers {status}: {text}");
    match status.as_u16() {
        408 | 429 | 500.. => Err(Fault::Passing { error, advanced: false }),
        _ => Err(Fault::Lasting(error)),
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

fn follow(url: &str, location: &str) -> Result<String, Fault> {
    match location {
        to if to.starts_with("http://") || to.starts_with("https://") => Ok(to.to_string()),
        to if to.starts_with('/') && !to.starts_with("//") => Ok(format!("{}{to}", origin(url))),
        to => Err(Fault::Lasting(anyhow!("{url} redirects to {to}, expected an http address or a path"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_for_one_origin() {
        assert_eq!(origin("https://hub.example/a/b?c"), "https://hub.example");
        assert_eq!(origin("http://127.0.0.1:80"), "http://127.0.0.1:80");
        assert_ne!(origin("https://hub.example.evil.test/a"), "https://hub.example");
    }

    #[test]
    fn progress_restores_patience() {
        let mut left = 2 * RETRIES;
        let answer = patiently(|| {
            left -= 1;
            match left {
                0 => Ok("whole"),
                _ => Err(Fault::Passing { error: anyhow!("cut"), advanced: true }),
            }
        });
        assert_eq!(answer.unwrap(), "whole");
    }
}
