//! Who uses the page with a keyboard, a screen reader, in the dark or on a narrow screen.

use serde_json::{Value, json};

use crate::browser::{Browser, ENTER, TAB};
use crate::{shop, shown, strings};

#[test]
fn the_keyboard_alone_gets_to_the_reason_of_a_flow() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "");
    let focused = || browser.run("return document.activeElement.outerHTML").as_str().unwrap().to_string();
    browser.press(&TAB.to_string());
    assert!(focused().contains("Skip to the flows"), "{}", focused());
    let fields = |name: &str| {
        for _ in 0..20 {
            browser.press(&TAB.to_string());
            if focused().contains(&format!("name=\"{name}\"")) {
                return;
            }
        }
        panic!("the field {name} has no place among the stops of Tab");
    };
    fields("from");
    browser.press("shop/orders");
    fields("to");
    browser.press("data/postgres");
    assert_eq!(shown(&browser), ["shop/deployment/orders -> data/statefulset/postgres tcp 5432"]);
    // Back to the beginning, and by the link over graph and filter.
    browser.run("document.activeElement.blur(); window.getSelection().removeAllRanges(); document.querySelector('.skip').focus()");
    browser.press(&ENTER.to_string());
    browser.press(&TAB.to_string());
    assert!(focused().contains("Why"), "{}", focused());
    browser.press(&ENTER.to_string());
    assert!(focused().contains("aria-expanded=\"true\""), "{}", focused());
    let reason =
        browser.run("return document.getElementById(document.activeElement.getAttribute('aria-controls')).textContent");
    assert!(reason.as_str().unwrap().contains("allowed by shop/orders egress[0] (to[0]: "), "{reason}");
    assert!(reason.as_str().unwrap().contains("allowed by data/postgres ingress[0] (from[0]: "), "{reason}");
    browser.press(&ENTER.to_string());
    assert_eq!(browser.run("return document.querySelectorAll('.example').length"), 0);
}

#[test]
fn the_graph_filters_and_folds_by_keyboard() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "");
    let lines = || browser.run("return document.querySelectorAll('#graph path').length").as_u64().unwrap();
    let all = lines();
    let focus = |side: &str, name: &str| {
        let found = browser.run(&format!(
            "const buttons = [...document.querySelectorAll('#graph ul[data-side={side}] button')];
             const found = buttons.find((button) => button.title === '{name}');
             found.focus();
             return found === document.activeElement"
        ));
        assert_eq!(found, Value::Bool(true));
    };
    focus("from", "shop");
    browser.press(&ENTER.to_string());
    let folded = lines();
    assert!(0 < folded && folded < all, "{folded} of {all}");
    assert_eq!(browser.run("return document.activeElement.getAttribute('aria-expanded')"), "false");
    browser.press(&ENTER.to_string());
    assert_eq!(lines(), all);
    focus("to", "data/statefulset/postgres");
    browser.press(&ENTER.to_string());
    assert_eq!(browser.run("return document.activeElement.getAttribute('aria-pressed')"), "true");
    assert!(shown(&browser).iter().all(|line| line.contains("-> data/statefulset/postgres ")));
    assert_eq!(lines(), 4);
    assert_eq!(browser.run("return decodeURIComponent(location.hash)"), "#to=data/statefulset/postgres");
}

#[test]
fn everything_has_a_name_a_role_and_a_place() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "");
    browser.run("document.querySelector('#flows-table button').click()");
    let wrong = browser.run(
        "const wrong = [];
         const all = (selector) => [...document.querySelectorAll(selector)];
         const must = (holds, what) => { if (!holds) wrong.push(what); };
         must(document.documentElement.lang !== '', 'no language');
         for (const landmark of ['header', 'main', 'nav', '[role=search]', 'h1']) must(all(landmark).length >= 1, `no ${landmark}`);
         must(all('h1').length === 1 && all('main').length === 1, 'two of what there is one of');
         for (const field of all('input, select')) must(field.labels.length === 1 && field.labels[0].textContent.trim() !== '', `no label: ${field.outerHTML}`);
         for (const button of all('button, a')) must(button.textContent.trim() !== '', `no name: ${button.outerHTML}`);
         for (const heading of all('th')) must(['col', 'row'].includes(heading.scope), `no scope: ${heading.outerHTML}`);
         for (const table of all('table')) must(table.caption !== null && table.caption.textContent !== '', 'no caption');
         for (const section of all('section, [aria-labelledby]')) must(document.getElementById(section.getAttribute('aria-labelledby')) !== null, `no title: ${section.id}`);
         for (const button of all('[aria-controls]')) must(document.getElementById(button.getAttribute('aria-controls')) !== null, 'controls nothing');
         const ids = all('[id]').map((element) => element.id);
         must(new Set(ids).size === ids.length, `an id twice: ${ids}`);
         must(all('#count[aria-live=polite]').length === 1, 'nobody hears the count');
         must(all('[tabindex]').every((element) => element.tabIndex <= 0), 'an order of its own');
         let level = 0;
         for (const heading of all('h1, h2, h3')) { const at = Number(heading.tagName[1]); must(at <= level + 1, `a level left out: ${heading.textContent}`); level = at; }
         return wrong",
    );
    assert_eq!(strings(&wrong), Vec::<String>::new());
}

/// The contrast of two colours as WCAG 2.2 defines it, for what lies on what.
const CONTRASTS: &str = "
  const light = (color) => {
    const [red, green, blue] = color.match(/[\\d.]+/g).map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const back = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' && element.parentElement !== null ? back(element.parentElement) : color;
  };
  const texts = [...document.querySelectorAll('h1, h2, h3, p, a, label, button:enabled, input, th, td, caption, code, .size')].filter((element) => element.checkVisibility());
  return texts.map((element) => {
    const [one, other] = [light(getComputedStyle(element).color), light(back(element))].sort((one, other) => other - one);
    return { text: element.outerHTML.slice(0, 80), contrast: (one + 0.05) / (other + 0.05) };
  });";

#[test]
fn light_and_dark_differ_and_can_be_read() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "#show=all&to=data/statefulset/postgres");
    browser.run("document.querySelector('#flows-table button').click()");
    let mut backs = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.command("Emulation.setEmulatedMedia", &features);
        backs.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
        let contrasts = browser.run(CONTRASTS);
        assert!(contrasts.as_array().unwrap().len() > 50);
        for text in contrasts.as_array().unwrap() {
            assert!(text["contrast"].as_f64().unwrap() >= 4.5, "{scheme}: {text}");
        }
    }
    assert_ne!(backs[0], backs[1]);
}

#[test]
fn a_narrow_page_is_not_wider_than_its_window() {
    let Some(browser) = Browser::start() else { return };
    let (_directory, file) = shop();
    browser.open(&file, "");
    let narrow = json!({"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": false});
    browser.command("Emulation.setDeviceMetricsOverride", &narrow);
    let over = browser.run(
        "const { scrollWidth, clientWidth } = document.documentElement; return [scrollWidth - clientWidth, innerWidth]",
    );
    assert_eq!(over, json!([0, 360]));
}
