//! A small hub on 127.0.0.1: it knows ranges, redirects, and how to misbehave.
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One address of the hub.
#[derive(Clone, Default)]
pub struct Page {
    pub body: Vec<u8>,
    pub headers: Vec<(String, String)>,
    /// The status instead of 200 or 206.
    pub status: Option<u16>,
    /// The first so many answers break off half-way.
    pub cuts: usize,
    /// Pause between pieces of a kilobyte.
    pub pause: Duration,
}

/// What was asked: path, `range`, `authorization`.
pub type Asked = (String, Option<String>, Option<String>);

pub struct Hub {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Hub {
    pub fn serve(pages: &[(&str, Page)]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let pages: HashMap<String, Page> =
            pages.iter().map(|(path, page)| (path.to_string(), page.clone())).collect();
        let (pages, asked) = (Arc::new(Mutex::new(pages)), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, log) = (Arc::clone(&pages), Arc::clone(&log));
                // A client that leaves in the middle is part of the tests.
                std::thread::spawn(move || drop(answer(stream, &pages, &log)));
            }
        });
        Hub { address, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no answer panics").clone()
    }
}

impl Page {
    pub fn of(body: impl Into<Vec<u8>>) -> Page {
        Page { body: body.into(), ..Page::default() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Page {
        self.headers.push((name.into(), value.into()));
        self
    }
}

fn answer(
    mut stream: TcpStream,
    pages: &Mutex<HashMap<String, Page>>,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or("").to_string();
    let mut headers = HashMap::new();
    for line in lines {
        match line?.split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_string()),
            None => break,
        };
    }
    let range = headers.get("range").cloned();
    log.lock().expect("unpoisoned").push((
        path.clone(),
        range.clone(),
        headers.get("authorization").cloned(),
    ));
    let (page, cut) = match pages.lock().expect("unpoisoned").get_mut(&path) {
        Some(page) => {
            let cut = page.cuts > 0;
            page.cuts = page.cuts.saturating_sub(1);
            (page.clone(), cut)
        }
        None => (Page { status: Some(404), ..Page::default() }, false),
    };
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (total, start) = (page.body.len(), start.unwrap_or(0_usize));
    let status = page.status.unwrap_or(if start >= total && start > 0 {
        416
    } else if start > 0 {
        206
    } else {
        200
    });
    let body = if status == 416 { &[] } else { &page.body[start.min(total)..] };
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    match status {
        206 => head += &format!("content-range: bytes {start}-{}/{total}\r\n", total - 1),
        416 => head += &format!("content-range: bytes */{total}\r\n"),
        _ => {}
    }
    for (name, value) in &page.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    let body = if cut { &body[..body.len() / 2] } else { body };
    for piece in body.chunks(1024) {
        stream.write_all(piece)?;
        std::thread::sleep(page.pause);
    }
    Ok(())
}
