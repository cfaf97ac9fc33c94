use super::*;
use crate::report::record::samples::{self, drop_line, policy_drop, rule_drop};

/// Of a trace whose names are as hostile as names can be.
fn hostile() -> (tempfile::TempDir, Review) {
    let mut drop = rule_drop();
    drop.drop.chain = Some("</td><script>alert(1)</script>|`x`\u{1b}[2J\u{9b}m\u{202e}\n| 1 |".into());
    let mut plain = drop_line(policy_drop());
    plain.time = Time(samples::NOON.0 + 5_000_000_000);
    let mut lines = [samples::start_line(), drop_line(drop), plain];
    lines[0].node = "<img src=x>".into();
    let text: String = lines
        .iter()
        .map(|line| serde_json::to_string(line).expect("writes") + "\n")
        .collect();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("<b>.json");
    std::fs::write(&path, text).expect("writes");
    let mut review = Review::default();
    crate::review::read(&mut review, &path).expect("reads");
    (dir, review)
}

#[test]
fn nothing_in_a_trace_is_markup_or_steers_a_terminal() {
    let (_dir, review) = hostile();
    for form in [Form::Text, Form::Json, Form::Markdown, Form::Html] {
        let page = super::review(&review, form, 10).expect("writes");
        let steers = page.chars().find(|c| *c != '\n' && escape::is_unsafe(*c));
        assert_eq!(steers, None, "{form:?}: {page}");
        assert!(page.contains("policy DROP of filter FORWARD"), "{page}");
    }
    let page = html::page(&review, 10);
    assert!(
        !page.contains("<script") && !page.contains("<img") && !page.contains("<b>"),
        "{page}"
    );
    assert_eq!(page.matches("<svg").count(), 3, "timeline, causes, flows");
    let page = markdown::page(&review, 10);
    let rows: Vec<&str> = page.lines().filter(|line| line.contains("script")).collect();
    assert_eq!(rows.len(), 1, "{page}");
    assert_eq!(rows[0].matches('|').count(), 5, "{}", rows[0]);
    assert_eq!(rows[0].matches('`').count(), 2, "{}", rows[0]);
    assert!(
        !page.lines().next_back().is_some_and(str::is_empty) && page.contains("\\<img"),
        "{page}"
    );
}

#[test]
fn the_html_asks_for_nothing_from_elsewhere() {
    let (_dir, review) = hostile();
    let page = html::page(&review, 10);
    for word in ["http:", "https:", "src=\"", "href", "url(", "@import", "onload"] {
        assert!(!page.contains(word), "{word}");
    }
    for element in ["svg", "table", "ul", "li", "tr", "td", "text", "rect"] {
        let opened =
            page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(
            opened,
            page.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
}

#[test]
fn the_json_has_what_the_text_has() {
    let (_dir, review) = hostile();
    let text = json::object(&review, 1).expect("writes");
    let object: serde_json::Value = serde_json::from_str(&text).expect("reads");
    assert_eq!(object["drops"], 2);
    assert_eq!(object["causes"]["top"].as_array().map(Vec::len), Some(1));
    assert_eq!(object["causes"]["more"], 1);
    assert_eq!(object["files"][0]["cut_off"], true);
    let bars = object["timeline"]["bars"].as_array().expect("bars");
    assert_eq!(bars.len(), 6);
    assert_eq!(object["first"], samples::NOON.to_string());
}

#[test]
fn nothing_read_is_a_page_too() {
    for form in [Form::Text, Form::Json, Form::Markdown, Form::Html] {
        assert!(
            super::review(&Review::default(), form, 10)
                .expect("writes")
                .contains('0')
        );
    }
}
