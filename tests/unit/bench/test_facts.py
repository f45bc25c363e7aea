import json

from meshnode.bench.facts import PACKAGES, machine_facts, text


def test_a_machine_says_what_figures_depend_on() -> None:
    facts = machine_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert int(str(facts["cores"])) >= 1
    assert all(facts[package] for package in PACKAGES)
    assert "load average before" in text(facts)
