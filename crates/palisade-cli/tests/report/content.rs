//! What the page says is what the other commands say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::browser::Browser;
use crate::{page, palisade, root, shop, shown, strings, write};

fn matrix(arguments: &[&str]) -> Vec<String> {
    let output = palisade(&root(), &[&["matrix", "-f", "examples/shop"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn filters_give_the_lines_of_palisade_matrix() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    let filters: [(&str, &[&str], usize); 11] = [
        ("", &[], 40),
        ("#from=shop/deployment/orders", &["--from", "shop/deployment/orders"], 5),
        ("#from=shop/orders", &["--from", "shop/orders"], 5),
        ("#to=data/postgres", &["--to", "data/postgres"], 4),
        ("#from=shop/orders&to=data/postgres", &["--from", "shop/orders", "--to", "data/postgres"], 1),
        ("#to=192.0.2.7", &["--to", "192.0.2.7"], 2),
        ("#from=2001:db8:e::7", &["--from", "2001:db8:e::7"], 2),
        ("#port=tcp/53", &["--port", "tcp/53"], 10),
        ("#port=tcp/4318-5432", &["--port", "tcp/4318-5432"], 10),
        ("#port=icmp", &["--port", "icmp"], 3),
        ("#to=kube-system/coredns&port=udp", &["--to", "kube-system/coredns", "--port", "udp"], 8),
    ];
    for (hash, arguments, least) in filters {
        browser.open(&file, hash);
        let expected = matrix(arguments);
        assert!(expected.len() >= least, "{arguments:?} proves little: {expected:?}");
        assert_eq!(shown(&browser), expected, "{hash}");
        let count = browser.run("return document.getElementById('count').textContent");
        assert!(count.as_str().unwrap().starts_with(&format!("{} line", expected.len())), "{hash}: {count}");
    }
}

#[test]
fn text_finds_names_ports_and_policies() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "#text=9187");
    let expected: Vec<String> = matrix(&["--port", "tcp/9187"]);
    let with_words = shown(&browser);
    assert!(with_words.contains(&"monitoring/deployment/prometheus -> data/statefulset/postgres tcp 9187".to_string()));
    assert!(with_words.len() <= expected.len(), "{with_words:?}");
    browser.open(&file, "#text=shop/orders egress");
    let by_policy = shown(&browser);
    assert!(!by_policy.is_empty() && by_policy.iter().all(|line| line.starts_with("shop/deployment/orders -> ")));
    browser.open(&file, "#show=denied&from=shop/orders&to=data/redis");
    assert_eq!(shown(&browser), ["shop/deployment/orders -> data/deployment/redis nothing"]);
}

/// Every example on the page, of what passes and of what does not.
#[test]
fn reasons_are_those_of_palisade_explain() {
    let Some(browser) = Browser::start() else { return };
    let (directory, file) = shop();
    browser.open(&file, "#show=all");
    let mut said: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    loop {
        let examples = browser.run(
            "document.querySelectorAll('#flows-table button').forEach((button) => button.click());
             return [...document.querySelectorAll('.example')].map((example) => [
               example.querySelector('code').textContent,
               example.querySelector('.verdict').textContent,
               [...example.querySelectorAll('li')].map((line) => line.textContent)])",
        );
        for example in examples.as_array().unwrap() {
            let [flow, verdict, lines] = example.as_array().unwrap().as_slice() else { panic!("{example}") };
            said.insert(flow.as_str().unwrap().to_string(), (verdict.as_str().unwrap().to_string(), strings(lines)));
        }
        let turned = browser.run(
            "const next = document.querySelector('#pages [data-step=\"1\"]');
             const was = next.disabled; next.click(); return !was",
        );
        if turned == Value::Bool(false) {
            break;
        }
    }
    assert!(said.len() > 150, "{}", said.len());
    let flows: String = said.keys().fold(String::new(), |text, flow| format!("{text}{flow}\n"));
    write(directory.path(), "flows", &flows);
    let flows = directory.path().join("flows");
    let asked = ["explain", "-f", "examples/shop", "--flows", flows.to_str().unwrap(), "-o", "json"];
    let printed = String::from_utf8(palisade(&root(), &asked).stdout).unwrap();
    assert_eq!(printed.lines().count(), said.len());
    let mut verdicts = BTreeMap::new();
    for line in printed.lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        let (verdict, lines) = &said[answer["flow"].as_str().unwrap()];
        assert_eq!(*lines, strings(&answer["reasons"]), "{line}");
        let assumed = if answer["assumed"] == true { " (assumed)" } else { "" };
        assert_eq!(*verdict, format!("{}{assumed}", answer["verdict"].as_str().unwrap()), "{line}");
        *verdicts.entry(answer["verdict"].to_string()).or_insert(0) += 1;
    }
    assert!(verdicts.len() == 2 && verdicts.values().all(|count| *count > 20), "{verdicts:?}");
}

#[test]
fn findings_have_their_places_and_hints() {
    let Some(browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "web.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: web}\nspec:\n  podSelector: {}\n  ingress:\n  - {}\n  egress: []\n",
    );
    let (_directory, file) = page(directory.path(), "web.yaml");
    browser.open(&file, "");
    let rows =
        browser.run("return [...document.querySelectorAll('#findings-table tbody tr')].map((row) => row.textContent)");
    let rows = strings(&rows);
    let printed = String::from_utf8(palisade(directory.path(), &["check", "web.yaml", "-o", "json"]).stdout).unwrap();
    assert_eq!(rows.len(), printed.lines().count());
    assert!(!rows.is_empty());
    for (row, line) in rows.iter().zip(printed.lines()) {
        let finding: Value = serde_json::from_str(line).unwrap();
        let place = format!("{}:{}:{}", finding["file"].as_str().unwrap(), finding["line"], finding["column"]);
        assert!(row.contains(&place), "{row}: {place}");
        for field in ["level", "id", "object", "message", "reason", "hint"] {
            assert!(row.contains(finding[field].as_str().unwrap()), "{row}: {line}");
        }
    }
}

/// Deployments in ten namespaces that are closed but for a few ways in each.
fn many(workloads: usize) -> String {
    let mut text = String::new();
    for number in 0..workloads {
        let namespace = format!("ns-{}", number % 10);
        let _ = writeln!(
            text,
            "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: w{number}, namespace: {namespace}}}, spec: {{selector: {{matchLabels: {{app: w{number}}}}}, template: {{metadata: {{labels: {{app: w{number}}}}}, spec: {{containers: [{{name: w, image: w, ports: [{{containerPort: 8080}}]}}]}}}}}}}}"
        );
        let _ = writeln!(
            text,
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: w{number}, namespace: {namespace}}}, spec: {{podSelector: {{matchLabels: {{app: w{number}}}}}, policyTypes: [Ingress], ingress: [{{from: [{{podSelector: {{matchLabels: {{app: w{}}}}}}}], ports: [{{port: 8080}}]}}]}}}}",
            (number + 10) % workloads
        );
    }
    text
}

#[test]
fn five_hundred_workloads_are_filtered_without_a_freeze() {
    let Some(browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "many.yaml", &many(500));
    let (_directory, file) = page(directory.path(), "many.yaml");
    browser.open(&file, "");
    let start = Instant::now();
    let shown_of = browser.run(
        "const field = document.querySelector('#filter [name=to]');
         field.value = 'ns-3/w123';
         field.dispatchEvent(new Event('input', { bubbles: true }));
         return document.querySelectorAll('#flows-table tbody tr').length",
    );
    assert_eq!(shown_of, 1);
    assert_eq!(shown(&browser), ["ns-3/deployment/w133 -> ns-3/deployment/w123 tcp 8080"]);
    browser.run(
        "const show = document.querySelector('#filter [name=show]');
         show.value = 'all';
         document.querySelector('#filter [name=to]').value = '';
         show.dispatchEvent(new Event('input', { bubbles: true }));",
    );
    assert_eq!(shown(&browser).len(), 100);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
