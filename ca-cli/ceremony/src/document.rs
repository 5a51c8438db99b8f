//! A document for print: Markdown, or one HTML file that needs nothing else. All text is escaped here.

use std::fmt::Write as _;

use clap::ValueEnum;

/// The form of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Markdown.
    Md,
    /// One HTML file, without scripts or anything from elsewhere.
    Html,
}

/// What stands in a table's cell.
#[derive(Clone)]
pub(crate) enum Cell {
    /// Text.
    Text(String),
    /// To be typed, or printed by the machine: never broken or escaped for the reader.
    Code(String),
    /// For the pen.
    Blank,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn code(text: impl Into<String>) -> Self {
        Self::Code(text.into())
    }
}

/// A heading and a table.
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// The document.
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) sections: Vec<Section>,
}

const STYLE: &str = "@page{margin:12mm}body{font:11pt/1.35 serif;max-width:190mm;margin:auto}h2{break-after:avoid}\
table{border-collapse:collapse;width:100%}th,td{border:1px solid #444;padding:2mm;text-align:left;vertical-align:top}\
thead{display:table-header-group}tr{break-inside:avoid}code{font:9pt/1.3 monospace;overflow-wrap:anywhere;white-space:pre-wrap}\
td.pen{min-width:14mm}";

impl Document {
    pub(crate) fn render(&self, format: Format) -> String {
        match format {
            Format::Md => self.markdown(),
            Format::Html => self.html(),
        }
    }

    fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n{}\n", md(&self.title), md(&self.note));
        for Section { heading, columns, rows } in &self.sections {
            let _ = write!(out, "\n## {}\n\n| {} |\n|{}\n", md(heading), columns.join(" | "), " --- |".repeat(columns.len()));
            for row in rows {
                let cells: Vec<String> = row
                    .iter()
                    .map(|cell| match cell {
                        Cell::Text(text) => md(text),
                        Cell::Code(text) => text.lines().map(md_code).collect::<Vec<_>>().join("<br>"),
                        Cell::Blank => "&nbsp;".to_owned(),
                    })
                    .collect();
                let _ = writeln!(out, "| {} |", cells.join(" | "));
            }
        }
        out
    }

    fn html(&self) -> String {
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
<title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n<p>{1}</p>\n",
            html(&self.title),
            html(&self.note)
        );
        for Section { heading, columns, rows } in &self.sections {
            let _ = write!(out, "<h2>{}</h2>\n<table><thead><tr>", html(heading));
            for column in columns {
                let _ = write!(out, "<th>{}</th>", html(column));
            }
            out.push_str("</tr></thead><tbody>\n");
            for row in rows {
                out.push_str("<tr>");
                for cell in row {
                    let _ = match cell {
                        Cell::Text(text) => write!(out, "<td>{}</td>", html(text)),
                        Cell::Code(text) => write!(out, "<td><code>{}</code></td>", html(text)),
                        Cell::Blank => write!(out, "<td class=\"pen\"></td>"),
                    };
                }
                out.push_str("</tr>\n");
            }
            out.push_str("</tbody></table>\n");
        }
        out.push_str("</body></html>\n");
        out
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn md(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("<br>"),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '>' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A line of code in a table: bars are escaped even there, and the fence is longer than any run of ticks.
fn md_code(line: &str) -> String {
    let longest = line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.replace('|', "\\|");
    if longest > 0 { format!("{fence} {line} {fence}") } else { format!("{fence}{line}{fence}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_text_and_nothing_else() {
        let evil = "<script>alert(1)</script> | `x` [a](b) \"q\" & *b*\u{7}";
        let section = Section {
            heading: evil.to_owned(),
            columns: vec!["a", "b"],
            rows: vec![vec![Cell::text(evil), Cell::code(evil)], vec![Cell::Blank, Cell::code("two\nlines")]],
        };
        let document = Document { title: evil.to_owned(), note: evil.to_owned(), sections: vec![section] };
        let html = document.render(Format::Html);
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;") && html.contains("&quot;q&quot; &amp;"), "{html}");
        // Nothing is fetched from anywhere.
        for part in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            assert!(!html.contains(part), "{part}");
        }
        assert!(html.contains("<td class=\"pen\"></td>") && html.contains("<code>two<br>lines</code>"));
        let md = document.render(Format::Md);
        assert!(md.contains("&lt;script\\>") && md.contains("\\[a\\](b)") && md.contains("`two`<br>`lines`"), "{md}");
        // Two columns have three bars that are no text.
        let row = md.lines().find(|l| l.starts_with("| &lt;script")).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), 3, "{row}");
    }
}
