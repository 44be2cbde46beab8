"""Does a list show every plug-in with what its class says of it?"""

import pytest

from securetune.defences import DEFENCES
from securetune.doors.catalogue import listed
from securetune.errors import ConfigError


@pytest.mark.parametrize(
    "kind", ["attacks", "benchmarks", "defences", "judges", "perturbations", "searches", "signals"]
)
def test_every_plugin_of_a_kind_is_listed_with_a_summary(kind):
    plugins = listed(kind)
    assert plugins and all(plugin.name and plugin.summary for plugin in plugins)


def test_a_defence_says_what_it_needs_costs_and_leaves_to_be_set():
    plugins = {plugin.name: "\n".join(plugin.facts) for plugin in listed("defences")}
    assert list(plugins) == DEFENCES.names()
    assert "needs: reference model, safety rows, extra passes" in plugins["replay"]
    assert "decay = 0.98" in plugins["ema"] and "cost: a copy of the trainable weights" in plugins["ema"]
    assert "needs: nothing beyond the rows" in plugins["ema"]


def test_another_kind_is_named_with_those_there_are():
    with pytest.raises(ConfigError, match="one of attacks, benchmarks, defences.*found 'models'"):
        listed("models")


def test_the_command_prints_them(command):
    assert command("list", "nonsense")[0] == 2
