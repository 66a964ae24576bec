//! A browser without a window, driven as a person drives one, over the WebDriver protocol.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A page in Chromium.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

/// For how long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The driver: what `HEDDLE_CHROMEDRIVER` names, else `chromedriver` in the path; none where there is none.
pub(crate) fn driver() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("HEDDLE_CHROMEDRIVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("chromedriver")).find(|program| program.is_file())
}

/// The codes of keys that are no letters.
pub(crate) mod key {
    pub(crate) const ENTER: char = '\u{e007}';
    pub(crate) const ESCAPE: char = '\u{e00c}';
    pub(crate) const DOWN: char = '\u{e015}';
}

impl Browser {
    /// Opens a page.
    pub(crate) fn open(program: &Path, page: &Path) -> Browser {
        let mut driver = Command::new(program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        let out = BufReader::new(driver.stdout.take().expect("it was piped"));
        let port = out.lines().map_while(Result::ok).find_map(|line| {
            let number = line.split("started successfully on port ").nth(1)?;
            number.trim_end_matches('.').parse().ok()
        });
        let mut browser =
            Browser { driver, port: port.expect("the driver says its port"), session: String::new() };
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,950"];
        let wanted = json!({
            "capabilities": { "alwaysMatch": {
                "goog:chromeOptions": { "args": args },
                "goog:loggingPrefs": { "browser": "ALL" },
            } }
        });
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        browser.command("url", &json!({ "url": format!("file://{}", page.display()) }));
        browser
    }

    /// What a script says.
    pub(crate) fn script(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the first element of a selector.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.script(&script).as_str().expect("text").to_owned()
    }

    /// How many elements there are of a selector.
    pub(crate) fn count(&self, selector: &str) -> u64 {
        self.script(&format!("return document.querySelectorAll({selector:?}).length"))
            .as_u64()
            .expect("a number")
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        self.command("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] }));
    }

    /// Clicks so many times on the left upper part of the first element of a selector, where its name is.
    pub(crate) fn click(&self, selector: &str, times: usize) {
        let script = format!(
            "const r = document.querySelector({selector:?}).getBoundingClientRect(); \
             return [Math.round(r.x + Math.min(12, r.width / 2)), Math.round(r.y + Math.min(8, r.height / 2))]"
        );
        let at = self.script(&script);
        let mut moves = vec![json!({ "type": "pointerMove", "x": at[0], "y": at[1], "duration": 0 })];
        for _ in 0..times {
            moves.push(json!({ "type": "pointerDown", "button": 0 }));
            moves.push(json!({ "type": "pointerUp", "button": 0 }));
        }
        let pointer = json!({ "type": "pointer", "id": "mouse", "actions": moves });
        self.command("actions", &json!({ "actions": [pointer] }));
    }

    /// What the page complained of.
    pub(crate) fn complaints(&self) -> Value {
        self.command("se/log", &json!({ "type": "browser" }))
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}/{name}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (head, text) =
            self.request(method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {head} {text}");
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        answer["value"].clone()
    }

    /// The head and the body of an answer. The driver keeps the connection, so its end is where the head says.
    fn request(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (body, host) = (body.to_string(), format!("127.0.0.1:{}", self.port));
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head)? > 0 {}
        for line in head.lines() {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text)?;
        Ok((head, String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What is left of a browser that does not answer goes with its driver.
        let _ = self.request("DELETE", &self.session, &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
