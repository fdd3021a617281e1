#!/usr/bin/env python3
"""The demo's page, filled with texts that try to be more: page.py <repository>. Read back by Python's parser of HTML."""
import html.parser
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(sys.argv[1])
HOSTILE = [
    "build/release/examples/train --out out", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</pre><b>x</b><pre>",
    "&amp;", "&lt;b&gt;", "&#60;b&#62;", "& && \\& \\\\ &", "{{minutes}}", "{{command_train}}", "{{", "}}", "{{unknown}}", "' \" `",
    "$(touch pwned)", "`touch pwned`", "; touch pwned", "a\nb", "\t", "%s %n", "*", "-n", "-e x", "x" * 10000, "Grüße 葡萄 🍇", "", " x ",
]


class Reader(html.parser.HTMLParser):
    """Tags in their order, and the texts of <pre>."""
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.inside = [], [], False

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))
        if tag == "pre":
            self.inside = True
            self.texts.append("")

    def handle_endtag(self, tag):
        self.tags.append("/" + tag)
        self.inside = self.inside and tag != "pre"

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def fill(template, pairs):
    script = 'source "$1/scripts/page.sh"; shift; fill_page "$@"'
    return subprocess.run(["bash", "-c", script, "bash", str(REPOSITORY), template] + pairs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)


def main():
    template = (REPOSITORY / "scripts" / "demo_page.html").read_text(encoding="utf-8")
    order = ["sample", "train", "forward", "reverse"]  # of the commands in the page
    plain = read(template)
    failures = 0
    for i, text in enumerate(HOSTILE):
        texts = [text, HOSTILE[i - 1], HOSTILE[i - 2], HOSTILE[i - 3]]
        pairs = ["minutes", text, "samples", text, "steps", text]
        for name, command in zip(order, texts):
            pairs += ["command_" + name, command]
        done = fill(template, pairs)
        page = read(done.stdout.decode("utf-8"))
        if done.returncode != 0 or page.tags != plain.tags or page.texts != texts:
            failures += 1
            print("FAILED: %r: exit code %d, texts %r" % (text[:60], done.returncode, [t[:60] for t in page.texts]))
    unknown = fill("{{a}} {{b}}", ["a", "1"])
    if unknown.returncode == 0 or b"{{b}}" not in unknown.stderr:
        failures += 1
        print("FAILED: a name without a text is not noticed")
    if pathlib.Path("pwned").exists():
        failures += 1
        print("FAILED: a text was obeyed")
    print("%d texts, %d failures" % (len(HOSTILE), failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
