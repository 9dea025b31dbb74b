"""Options are written once, and every front end offers the same ones."""

import inspect
from dataclasses import fields, replace
from fractions import Fraction
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from echomimic.apps.cli.main import animate
from echomimic.apps.cli.reporter import spell_as_flags
from echomimic.apps.option_specs import OPTION_SPECS, spell_options
from echomimic.errors import MotionError, OptionError
from echomimic.notes import collect_notes
from echomimic.options import GROUPS, OPTION_NAMES, Options, OptionsDict, make_options
from echomimic.presets import PRESETS, find_preset
from echomimic.types import Curves


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


def test_the_command_line_accepts_old_names_without_listing_them() -> None:
    flag = inspect.signature(animate).parameters["guidance"].default
    assert (flag.param_decls, flag.hidden) == (("--guidance",), True)


def test_what_the_user_gives_wins_over_the_preset() -> None:
    options = make_options({"steps": 8, "guidance_scale": None}, {"steps": 6, "guidance_scale": 1.0})
    assert (options.steps, options.guidance_scale) == (8, 1.0)


def test_no_option_means_the_defaults() -> None:
    assert make_options({}) == Options()


def test_a_face_box_is_read_from_text() -> None:
    assert make_options({"face_box": "10,20,30.5,40"}).face_box == (10, 20, 30.5, 40)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fps": 0}, "option `fps` is 0; expected a number from 1 to 120: 25, 23.976 or 30000/1001"),
        ({"fps": "29;97"}, "option `fps` is '29;97'; expected a number from 1 to 120: 25, 23.976 or 30000/1001"),
        ({"fps": float("nan")}, "option `fps` is nan; expected"),
        ({"cache": 0}, "option `cache` is 0; expected 1 to 10"),
        ({"quantize": "int4"}, "option `quantize` is 'int4'; expected 'none' or 'int8'"),
        ({"cache_schedule": "linear"}, "option `cache_schedule` is 'linear'; expected 'uniform' or 'quadratic'"),
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


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("23.98", 24000 / 1001),
        (23.976, 24000 / 1001),
        ("23,97", 24000 / 1001),
        (29.97, 30000 / 1001),
        ("29,97", 30000 / 1001),
        ("30000/1001", 30000 / 1001),
        (Fraction(60000, 1001), 60000 / 1001),
        ("47.95", 48000 / 1001),
        ("59.94", 60000 / 1001),
        (119.88, 120000 / 1001),
        ("25", 25.0),
        (24, 24.0),
        (12.5, 12.5),
        ("29.9", 29.9),
    ],
)
def test_frame_rates_are_read_as_broadcast_means_them(given: object, rate: float) -> None:
    assert make_options({"fps": given}).fps == rate
    assert Options(fps=given).fps == rate  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{"fps": 0}, {"fps": "1/0"}, {"steps": 0}, {"colour": 1}, {"framing": "wide"}])
def test_options_themselves_raise_our_error(values: dict[str, Any]) -> None:
    for build in (lambda: Options(**values), lambda: make_options(values), lambda: replace(Options(), **values)):
        with pytest.raises((OptionError, TypeError)) as caught:
            build()
        assert isinstance(caught.value, OptionError) or "colour" in values


def test_the_old_name_of_an_option_is_accepted_with_a_note() -> None:
    with collect_notes() as notes:
        assert make_options({"guidance": 3}, {"guidance_scale": 1.0}).guidance_scale == 3
        assert Options(guidance=4).guidance_scale == 4  # type: ignore[call-arg]
        assert make_options({"guidance": 3, "guidance_scale": 5}).guidance_scale == 5
    assert [note.code for note in notes] == ["renamed_option"]
    with collect_notes() as notes:
        assert make_options({"guidance": None}).guidance_scale == Options().guidance_scale
    assert notes == []


def test_the_typed_keywords_are_the_options() -> None:
    hints = get_type_hints(OptionsDict)
    assert tuple(hints) == OPTION_NAMES
    for field in fields(Options):
        wanted = set(get_args(hints[field.name])) or {hints[field.name]}
        own = get_type_hints(Options)[field.name]
        assert (set(get_args(own)) if get_origin(own) in (Union, UnionType) else {own}) <= wanted, field.name


def test_an_unknown_curve_lists_the_curves() -> None:
    curves = Curves.rest(2, 25.0)
    for use in (lambda: curves.replace(yawn=1), lambda: curves["yawn"]):
        with pytest.raises(MotionError, match="unknown curve 'yawn'; expected one of jaw, spread") as caught:
            use()
        assert caught.value.code == "curve_unknown"


@pytest.mark.parametrize("wrong", [[1, 2], "wide", [[1]] * 5, [1, "a", 2]])
def test_a_curve_of_another_length_is_refused(wrong: Any) -> None:
    with pytest.raises(MotionError, match=r"curve jaw cannot be replaced .*; expected a number, or 3 numbers"):
        Curves.rest(3, 25.0).replace(jaw=wrong)


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf")])
def test_curves_need_a_frame_rate(fps: float) -> None:
    with pytest.raises(MotionError, match="expected a number above 0"):
        Curves.rest(3, fps)
