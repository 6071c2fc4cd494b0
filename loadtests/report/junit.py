"""A load test as JUnit XML, so that any CI shows which limit broke."""

from __future__ import annotations

from xml.etree import ElementTree

from loadtests.report.terminal import text_of
from loadtests.verdict.conclusion import Conclusion, Repeat


def junit(conclusion: Conclusion) -> str:
    """Return one test suite for each run.

    A suite has a case for the validity rules, an `error` where the run does not count (it could not
    be judged), and one for each limit of the SLO, a `failure` where it was not kept.
    """
    root = ElementTree.Element("testsuites")
    for run in conclusion.runs:
        root.append(_suite(conclusion, run))
    if conclusion.missing:
        name = f"loadtest {conclusion.scenario}"
        suite = ElementTree.SubElement(root, "testsuite", name=name, tests="1", errors="1")
        case = ElementTree.SubElement(suite, "testcase", classname="loadtest", name="all runs")
        ElementTree.SubElement(case, "error", message=conclusion.missing)
    ElementTree.SubElement(root[-1], "system-out").text = text_of(conclusion)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(conclusion: Conclusion, run: Repeat) -> ElementTree.Element:
    spec = conclusion.report.spec
    broken = [check for check in run.checks if not check.passed]
    suite = ElementTree.Element(
        "testsuite",
        name=f"loadtest {conclusion.scenario} seed {run.seed}",
        tests=str(1 + len(run.checks)),
        failures=str(len(broken)),
        errors=str(int(not run.valid)),
        timestamp=conclusion.at,
        time=f"{spec.duration_s:g}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    known = {
        "verdict": run.verdict,
        "url": spec.url,
        "rate": f"{spec.rate:g}",
        "seed": str(run.seed),
    }
    for name, value in {**known, **conclusion.versions}.items():
        ElementTree.SubElement(properties, "property", name=name, value=value)
    counts = ElementTree.SubElement(suite, "testcase", classname="loadtest", name="the run counts")
    if not run.valid:
        why = "; ".join(run.invalid_reasons)
        ElementTree.SubElement(counts, "error", message=why).text = why
    for check in run.checks:
        case = ElementTree.SubElement(suite, "testcase", classname="loadtest", name=check.name)
        if not check.passed:
            ElementTree.SubElement(case, "failure", message=check.words).text = check.words
    return suite
