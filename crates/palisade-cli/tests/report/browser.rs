//! A Chromium without a window, driven as `WebDriver` (W3C) says, with the additions of chromedriver.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

/// Longer than anything takes here: a failure, not a measure.
const PATIENCE: Duration = Duration::from_mins(2);

pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';

/// A browser with one page.
pub struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
}

impl Browser {
    /// Starts one. Without Chromium it says so; a failure with `PALISADE_REQUIRE_KERNEL`.
    pub fn start() -> Option<Browser> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match started {
            Ok(driver) => driver,
            Err(error) => {
                let message = format!("chromedriver cannot be run: {error}");
                assert!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none(), "{message}");
                println!("SKIPPED: {message}");
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let started = lines.find_map(|line| Some(line.split_once("successfully on port ")?.1.to_string())).unwrap();
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let base = format!("http://127.0.0.1:{}/session", started.trim_end_matches('.'));
        let mut browser = Browser { driver, agent, session: base.clone() };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"];
        let session = browser.post(
            "",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }}}),
        );
        browser.session = format!("{base}/{}", session["sessionId"].as_str().unwrap());
        Some(browser)
    }

    /// Opens a file, with what stands behind `#` in its address.
    pub fn open(&self, file: &Path, hash: &str) {
        self.post("/url", &json!({"url": "about:blank"}));
        self.post("/url", &json!({"url": format!("file://{}{hash}", file.display())}));
    }

    /// Runs the body of a function in the page, and tells what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Presses keys, one after another.
    pub fn press(&self, keys: &str) {
        let actions = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let actions: Vec<Value> = actions.collect();
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    /// A command of the protocol of its developer tools.
    pub fn command(&self, name: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", &json!({"cmd": name, "params": parameters}));
    }

    /// What was logged since it was asked last: of `browser` what a console would show, of `performance` all events.
    pub fn log(&self, kind: &str) -> Vec<String> {
        let entries = self.post("/se/log", &json!({"type": kind}));
        let messages = entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_string());
        messages.collect()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let response = self.agent.post(format!("{}{path}", self.session)).send(body.to_string());
        let text = response.unwrap().body_mut().read_to_string().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["value"]["error"].is_null(), "{path} {body}: {text}");
        value["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the browser; without a session there is none.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
