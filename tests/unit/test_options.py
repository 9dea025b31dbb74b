"""Options are written once, and every door offers the same ones."""

import inspect
from dataclasses import fields

import pytest

from echomimic.apps.cli.main import animate
from echomimic.apps.cli.reporter import spell_as_flags
from echomimic.apps.option_specs import OPTION_SPECS, spell_options
from echomimic.errors import OptionError
from echomimic.options import GROUPS, OPTION_NAMES, Options, make_options
from echomimic.presets import PRESETS, find_preset


def test_every_option_has_a_control_with_words_and_a_group() -> None:
    assert tuple(control.name for control in OPTION_SPECS) == OPTION_NAMES
    for control in OPTION_SPECS:
        assert control.help
        assert control.group in GROUPS.values()
        assert control.kind in (bool, int, float, str)


def test_controls_have_the_types_and_ranges_of_the_fields() -> None:
    by_name = {control.name: control for control in OPTION_SPECS}
    assert (by_name["fps"].kind, by_name["fps"].low, by_name["fps"].high) == (float, 1, 120)
    assert (by_name["size"].kind, by_name["size"].default, by_name["size"].step) == (int, None, 8)
    assert by_name["framing"].choices == ("full", "crop")
    assert by_name["face_box"].kind is str
    assert by_name["still_background"].kind is bool
    assert by_name["seed"].range == "0 to 2147483647"


def test_every_number_has_a_range_and_a_default_inside_it() -> None:
    for control in OPTION_SPECS:
        if control.kind in (int, float):
            assert control.low is not None, control.name
            assert control.high is not None, control.name
            if isinstance(control.default, (int, float)):
                assert control.low <= control.default <= control.high, control.name


def test_the_command_line_has_a_flag_for_each_option() -> None:
    parameters = inspect.signature(animate).parameters
    assert set(OPTION_NAMES) <= set(parameters)
    for control in OPTION_SPECS:
        assert parameters[control.name].default.param_decls == (f"--{control.flag}",)
        assert control.kind is not bool or parameters[f"no_{control.name}"].default.param_decls == (
            f"--no-{control.flag}",
        )
        assert control.help in parameters[control.name].default.help


def test_what_the_user_gives_wins_over_the_preset() -> None:
    options = make_options({"steps": 8, "guidance": None}, {"steps": 6, "guidance": 1.0})
    assert (options.steps, options.guidance) == (8, 1.0)


def test_no_option_means_the_defaults() -> None:
    assert make_options({}) == Options()


def test_a_face_box_is_read_from_text() -> None:
    assert make_options({"face_box": "10,20,30.5,40"}).face_box == (10, 20, 30.5, 40)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fps": 0}, "option `fps` is 0; expected 1 to 120"),
        ({"fps": 240}, "option `fps` is 240; expected 1 to 120"),
        ({"fps": float("nan")}, "option `fps` is nan; expected"),
        ({"size": "63"}, "option `size` is 63; expected 64 to 4096"),
        ({"size": "1.5"}, "option `size` is 1.5; expected a whole number from 64 to 4096"),
        ({"blink_rate": "many"}, "option `blink_rate` is 'many'; expected a number from 0 to 60"),
        ({"framing": "wide"}, "option `framing` is 'wide'; expected 'full' or 'crop'"),
        ({"face_box": "1,2,3"}, "option `face_box` is"),
        ({"face_box": "a,b,c,d"}, "option `face_box` is"),
        ({"colour": 3}, "unknown option 'colour'; expected one of size, fps"),
        ({"context_frames": 4, "context_overlap": 4}, "expected the overlap to be smaller"),
    ],
)
def test_a_wrong_option_is_one_line(values: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_options(values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_defaults_of_every_preset_are_options() -> None:
    for preset in PRESETS.values():
        make_options({}, preset.defaults)
        assert find_preset(preset.name) is preset


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown preset 'v9'; expected auto or one of mesh"):
        find_preset("v9")


def test_options_are_frozen_and_have_no_field_without_a_test_above() -> None:
    with pytest.raises(AttributeError):
        setattr(Options(), "fps", 30)  # noqa: B010
    assert len(fields(Options)) == len(OPTION_SPECS)


def test_messages_name_options_in_the_words_of_the_front_end() -> None:
    message = "lower `size` or `context_frames`; a`b`"
    assert spell_options(message) == "lower size or context_frames; ab"
    assert spell_as_flags(message).startswith("lower --size or --context-frames")
    assert spell_as_flags("give it with `output` X") == "give it with -o X"
