//! The page asks nobody for anything, and what manifests hold is text.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::Value;

use crate::browser::Browser;
use crate::{page, shop, strings};

#[test]
fn the_page_is_quiet_and_asks_no_network() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "");
    browser.run("document.querySelectorAll('button').forEach((button) => button.click())");
    assert_eq!(browser.log("browser"), Vec::<String>::new());
    let requested = browser.log("performance").into_iter().filter_map(|event| {
        let event: Value = serde_json::from_str(&event).unwrap();
        let is_request = event["message"]["method"] == "Network.requestWillBeSent";
        is_request.then(|| event["message"]["params"]["request"]["url"].as_str().unwrap().to_string())
    });
    let requested: Vec<String> = requested.filter(|url| url != "about:blank").collect();
    assert_eq!(requested, [format!("file://{}", file.display())]);
}

/// A page that would ask, does not get to: its own policy forbids it.
#[test]
fn the_policy_of_the_page_forbids_scripts_and_network() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    let text = fs::read_to_string(&file).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x", server.local_addr().unwrap());
    let foreign = format!(
        "<script>document.title = 'ran'</script><img src=\"{url}\" onerror=\"document.title = 'ran'\"><link rel=\"stylesheet\" href=\"{url}\"></body>"
    );
    fs::write(&file, text.replace("</body>", &foreign)).unwrap();
    browser.open(&file, "");
    assert_eq!(browser.run("return document.title"), "examples/shop: who reaches whom");
    let refused = browser.log("browser");
    assert!(refused.iter().any(|message| message.contains("Content Security Policy")), "{refused:?}");
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

const HOSTILE: &str = "</script><script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">";

#[test]
fn hostile_names_are_shown_and_do_not_run() {
    let Some(browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let name = "<img src=x onerror=document.title='ran'>.yaml";
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: web, labels: {{app: {quoted}}}}}\nspec: {{containers: [{{name: a}}]}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: web\n  annotations: {{palisade.dev/allow: {quoted}}}\n\
         spec:\n  podSelector: {{matchLabels: {{app: {quoted}}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {quoted}}}}}}}]}}]\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {quoted}, namespace: {quoted}}}\nspec: {{containers: [{{name: a}}]}}\n"
    );
    fs::write(directory.path().join(name), manifest).unwrap();
    let (_directory, file) = page(directory.path(), name);
    browser.open(&file, "#show=all");
    browser.run("document.querySelectorAll('#flows-table button').forEach((button) => button.click())");
    assert_eq!(browser.run("return document.title"), format!("{name}: who reaches whom"));
    assert_eq!(browser.run("return document.querySelectorAll('img, script:not(#data)').length"), 1);
    assert_eq!(browser.log("browser"), Vec::<String>::new());
    let text = browser.run("return [document.body.innerText]");
    assert!(strings(&text)[0].contains("document.title = 'ran'"), "nothing hostile is on the page: {text}");
}
