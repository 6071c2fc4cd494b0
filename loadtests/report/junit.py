"""A load test as JUnit XML, so that any CI shows which limit broke."""

from __future__ import annotations

from xml.etree import ElementTree

from loadtests.report.figures_of_run import LoadReport


def junit(report: LoadReport, name: str) -> str:
    """Return one test suite: a case for the validity rules and one for each limit of the SLO."""
    cases = [("the run counts", "; ".join(report.invalid_reasons))]
    cases += [(check.name, "" if check.passed else check.words) for check in report.checks]
    failures = sum(bool(fault) for _, fault in cases)
    suite = ElementTree.Element(
        "testsuite",
        name=f"loadtest {name}",
        tests=str(len(cases)),
        failures=str(failures),
        time=f"{report.spec.duration_s:g}",
    )
    for case, fault in cases:
        element = ElementTree.SubElement(suite, "testcase", classname="loadtest", name=case)
        if fault:
            ElementTree.SubElement(element, "failure", message=fault).text = fault
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
