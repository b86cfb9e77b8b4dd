//! What a page holds, and that no text of a report becomes markup.

use proptest::prelude::*;

use super::*;
use crate::report::{
    Check, CollectionReport, Counts, Difference, Direction, Rate, RatePoint, Reason, SCHEMA, Search, Verification,
};

/// A report with this text in every place that takes one.
fn saying(text: &str) -> Report {
    let text = text.to_owned();
    let difference = Difference { id: text.clone(), field: text.clone(), detail: text.clone() };
    let collection = |database: &str| CollectionReport {
        database: database.to_owned(),
        name: text.clone(),
        target_name: text.clone(),
        distance: text.clone(),
        fingerprint: text.clone(),
        search: Some(Search { notes: vec![text.clone()], ..Search::default() }),
        differences: vec![difference.clone()],
        differences_left_out: 7,
        ulps: vec![3, 1],
        ..CollectionReport::default()
    };
    Report {
        schema: SCHEMA,
        verdict: Verdict::Failed,
        reason: Reason::VerificationFailed,
        message: text.clone(),
        direction: Direction::LocalToRemote,
        started_at: text.clone(),
        finished_at: text.clone(),
        preflight: vec![Check { check: text.clone(), ok: false, message: text.clone(), remedy: text.clone() }],
        counts: Counts { source: 10, verified: 4, missing: 1, different: 2, ..Counts::default() },
        verification: Verification::default(),
        target_bytes: None,
        comparison: false,
        rate: Some(Rate { seconds: 2.0, points: points() }),
        collections: vec![collection("one"), collection(&text)],
        collections_left_out: 0,
    }
}

fn points() -> Vec<RatePoint> {
    let copying = |copying| RatePoint { copying, ..RatePoint::default() };
    vec![RatePoint { preflight: 10, ..copying(30) }, RatePoint::default(), RatePoint { verifying: 9, ..copying(1) }]
}

/// The page without style and script, which are ours.
fn own_markup(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (body, end) = rest.rsplit_once("<script>").unwrap();
    let (_, end) = end.split_once("</script>").unwrap();
    format!("{head}{body}{end}")
}

/// Names of all tags, in order.
fn tags(page: &str) -> Vec<String> {
    let name = |tag: &str| tag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
    page.split('<').skip(1).map(name).collect()
}

const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "<!-- -->&lt;&amp;",
    "javascript:alert(1)",
    "]]><a href=\"https://example.com\">",
];

#[test]
fn no_text_of_a_report_becomes_markup() {
    let plain = tags(&own_markup(&of(&saying("x"))));
    for text in HOSTILE {
        let page = own_markup(&of(&saying(text)));
        assert_eq!(tags(&page), plain, "{text}");
        assert!(!page.contains("<img") && !page.contains("onerror=alert(1)>\""), "{text}");
    }
}

#[test]
fn what_hides_or_turns_around_is_written_out() {
    for c in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{0}', '\u{1b}', '\u{ad}', '\u{e0041}'] {
        let page = of(&saying(&format!("a{c}b")));
        assert!(!page.contains(c), "{c:?}");
        assert!(page.contains(&format!("a\\u{{{:x}}}b", u32::from(c))), "{c:?}");
    }
    let rtl = of(&saying("שלום é 🙂"));
    assert!(
        rtl.contains("<bdi class=\"value\">שלום é 🙂</bdi>"),
        "right-to-left text stays, apart from its neighbours"
    );
}

#[test]
fn a_page_asks_nobody_and_allows_one_script() {
    let page = of(&saying("x"));
    let policy = page.split_once("Content-Security-Policy\" content=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let own = own_markup(&page);
    for word in ["http:", "https:", "src=", "@import", "url(", " style=", " onclick=", "<iframe", "<form"] {
        assert!(!own.contains(word), "{word}");
    }
    for word in ["http", "@import", "url(", "fetch", "XMLHttpRequest", "innerHTML", "</"] {
        assert!(!STYLE.contains(word) && !FILTER.contains(word), "{word}");
    }
}

#[test]
fn every_number_that_matters_is_said_in_words() {
    let page = of(&saying("x"));
    for words in [
        "Of 10 records: 4 verified: compared and equal, 2 different, 1 missing in the target, 3 not compared",
        "<title>Failed: VerificationFailed – memory migration report</title>",
        "14 more are not listed.",
        "What to do: ",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let empty = Report { preflight: vec![], collections: vec![], counts: Counts::default(), ..saying("x") };
    let page = of(&empty);
    for words in
        ["The source held no record.", "None was reached.", "None was made.", "No search was checked.", "<p>None.</p>"]
    {
        assert!(page.contains(words), "{words}");
    }
}

/// A run failed for answers without records, and the page had no number of them.
#[test]
fn each_number_of_the_search_check_stands_under_its_name() {
    let filters = crate::report::Filters { asked: 336, wrong: 112, known: 113, not_judged: 114 };
    let search = Search {
        queries: 101,
        not_judged: 102,
        wrong_answers: 103,
        wrong_distances: 104,
        unknown_ids: 105,
        source_self_found: Some(0.1234),
        filters,
        ..Search::default()
    };
    let collection = CollectionReport { search: Some(search), ..CollectionReport::default() };
    let page = own_markup(&of(&Report { collections: vec![collection], ..saying("x") }));
    let table =
        page.split_once("aria-label=\"Searches of each collection\"").unwrap().1.split_once("</table>").unwrap().0;
    let texts = |cell: &str| -> Vec<String> {
        let cell = format!("<{cell}");
        let cells = table.split(&cell).skip(1);
        cells.map(|cell| cell.split_once('>').unwrap().1.split_once("</").unwrap().0.to_owned()).collect()
    };
    let (names, numbers) = (texts("th class=\"n"), texts("td class=\"n"));
    assert_eq!(names.len(), numbers.len(), "{names:?} {numbers:?}");
    for (name, number) in [
        ("queries", "101"),
        ("not judged", "102"),
        ("wrong answers", "103"),
        ("wrong distances", "104"),
        ("unknown ids", "105"),
        ("on the source", "0.1234"),
        ("filters: right", "111"),
        ("filters: wrong", "112"),
        ("filters: known quirk", "113"),
        ("filters: not judged", "114"),
    ] {
        let found = names.iter().zip(&numbers).any(|(n, text)| n == name && text == number);
        assert!(found, "{name} {number}: {names:?} {numbers:?}");
    }
}

#[test]
fn the_rate_over_time_is_said_in_words_and_numbers() {
    let page = of(&saying("x"));
    for words in [
        "<h2 id=\"rate\">Rate over time</h2>",
        "Records per second over 6s: at most 20, in the first 2s",
        "31</td>",
        "15 records/s",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let own = own_markup(&page);
    let plot = own.split_once("class=\"plot\"").unwrap().1.split_once("</svg>").unwrap().0;
    assert_eq!(plot.matches("<rect").count(), 4, "one for each stage that did something: {plot}");
    let without = |rate| of(&Report { rate, ..saying("x") });
    for nothing in [None, Some(Rate::default()), Some(Rate { seconds: f64::NAN, points: points() })] {
        assert!(!without(nothing).contains("Rate over time"));
    }
    let endless = Rate { seconds: 1.0, points: vec![points()[0]; 100_000] };
    assert!(without(Some(endless)).len() < 200_000, "a file that no run has written is drawn in part");
    let huge = RatePoint { preflight: u64::MAX, copying: u64::MAX, ..RatePoint::default() };
    assert!(without(Some(Rate { seconds: 1e-300, points: vec![huge] })).contains("Rate over time"));
}

#[test]
fn a_plan_and_a_comparison_of_numbers_do_not_claim_to_have_compared() {
    let told = |reason, verdict| of(&Report { verdict, reason, ..saying("x") });
    let plan = told(Reason::DryRunCompleted, Verdict::DryRun);
    assert!(plan.contains("Nothing was written.") && !plan.contains("Every record of the source was read back"));
    let numbers = told(Reason::CountsVerified, Verdict::Succeeded);
    assert!(numbers.contains("weaker than Verified") && !numbers.contains("Every record of the source was read back"));
    let ended = told(Reason::Unavailable, Verdict::Failed);
    assert!(ended.contains("ended before every record was compared"));
}

#[test]
fn numbers_are_grouped_and_one_is_only_all() {
    assert_eq!([0, 12, 1234, 1_234_567].map(words::grouped), ["0", "12", "1,234", "1,234,567"]);
    assert_eq!([1.0, 0.999_99, 0.5].map(words::share), ["1.0000", "0.9999", "0.5000"]);
}

proptest! {
    #[test]
    fn any_text_leaves_the_markup_as_it_is(text in any::<String>()) {
        let plain = tags(&own_markup(&of(&saying("x"))));
        prop_assert_eq!(tags(&own_markup(&of(&saying(&format!("<{text}"))))), plain);
    }
}
