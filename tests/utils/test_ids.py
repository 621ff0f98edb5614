"""Ids: upstream names in and out of ours, signed by owner and kind, and the time that some of them hold."""

import pytest

from app.utils.ids import BadIdError, IdCodec, created_at_of

OLD, NEW = b"o" * 40, b"n" * 40
SUFFIX = "0f23d628b8934486016a3995086314819bbe0601a8ca62d55b"
NOW = 1_795_000_000
FORWARD = {
    "conversation": ("thread", f"conv_{SUFFIX}"),
    "response": ("run", f"resp_{SUFFIX}"),
    "item": ("message", f"msg_{SUFFIX}"),
}


@pytest.fixture(params=[(), (NEW,), (NEW, OLD)], ids=["unsigned", "signed", "rotated"])
def codec(request):
    return IdCodec(request.param, "alice")


class TestRoundTrips:
    @pytest.mark.parametrize("back", FORWARD)
    def test_every_kind_comes_back(self, codec, back):
        name, upstream_id = FORWARD[back]
        client_id = getattr(codec, name)(upstream_id)
        assert client_id.startswith(f"{'msg' if name == 'message' else name}_")
        assert getattr(codec, back)(client_id) == upstream_id

    @pytest.mark.parametrize(
        "upstream_id", ["other_1", "resp-without-underscore", "0123", "conv", "gen.1-x_y"]
    )
    def test_ids_of_other_upstreams_come_back_whole(self, codec, upstream_id):
        assert codec.response(codec.run(upstream_id)) == upstream_id
        assert codec.conversation(codec.thread(upstream_id)) == upstream_id

    def test_steps_carry_their_index(self, codec):
        assert codec.output(codec.step(f"resp_{SUFFIX}", 12)) == (f"resp_{SUFFIX}", 12)
        assert codec.output(codec.step("gen.1", 0)) == ("gen.1", 0)

    def test_files_carry_their_container(self, codec):
        assert codec.upstream_file(codec.file("file-1")) == ("file-1", None)
        assert codec.upstream_file(codec.file("cfile_1", "cntr_2")) == ("cfile_1", "cntr_2")

    def test_pictures_carry_their_conversation_and_item(self, codec):
        for conversation_id in (f"conv_{SUFFIX}", "gen.1"):
            file_id = codec.picture(conversation_id, f"ig_{SUFFIX}", 12)
            assert file_id.startswith("~")
            assert codec.upstream_picture(file_id) == (conversation_id, f"ig_{SUFFIX}", 12)
            with pytest.raises(BadIdError):
                codec.upstream_file(file_id)
        assert codec.upstream_picture(codec.file("file-1")) is None

    @pytest.mark.parametrize("item_id", ["x" * 160, "a.b", "a/b", ""])
    def test_a_picture_that_no_id_can_name_has_none(self, codec, item_id):
        assert codec.picture(f"conv_{SUFFIX}", item_id, 0) is None

    def test_unsigned_ids_differ_in_nothing_but_the_prefix(self):
        assert IdCodec().thread(f"conv_{SUFFIX}") == f"thread_{SUFFIX}"
        assert IdCodec().message(f"msg_{SUFFIX}") == f"msg_{SUFFIX}"


class TestRefused:
    @pytest.mark.parametrize(
        "client_id",
        [
            "",
            "thread_",
            "run_1",
            "thread",
            "thread_a/b",
            "thread_..",
            "thread_a..b",
            "thread_a b",
            "thread_\n",
            "thread_" + "a" * 200,
            "thread_%2e",
            "thread_é",
            "thread_a\n",
            "thread_?x",
            "thread__a",
        ],
    )
    def test_what_could_lead_elsewhere(self, codec, client_id):
        with pytest.raises(BadIdError):
            codec.conversation(client_id)

    @pytest.mark.parametrize("step_id", ["step_1", "step_1.x", "step_.1", "step_1.-1", "run_1.1"])
    def test_steps_that_are_none(self, step_id):
        with pytest.raises(BadIdError):
            IdCodec().output(step_id)

    def test_another_owner(self):
        thread_id = IdCodec((NEW,), "alice").thread(f"conv_{SUFFIX}")
        for owner in ("bob", "", "alice "):
            with pytest.raises(BadIdError):
                IdCodec((NEW,), owner).conversation(thread_id)

    def test_another_kind(self):
        codec = IdCodec((NEW,), "alice")
        with pytest.raises(BadIdError):
            codec.response(codec.thread(f"conv_{SUFFIX}").replace("thread_", "run_"))

    def test_every_changed_character(self):
        codec = IdCodec((NEW,), "alice")
        thread_id = codec.thread(f"conv_{SUFFIX}")
        for at in range(len("thread_"), len(thread_id)):
            changed = thread_id[:at] + ("b" if thread_id[at] != "b" else "c") + thread_id[at + 1 :]
            with pytest.raises(BadIdError):
                codec.conversation(changed)

    def test_an_unsigned_id_where_ids_are_signed(self):
        with pytest.raises(BadIdError):
            IdCodec((NEW,), "alice").conversation(f"thread_{SUFFIX}")


class TestRotation:
    def test_old_keys_verify_and_the_new_one_signs(self):
        old = IdCodec((OLD,), "alice").thread(f"conv_{SUFFIX}")
        both = IdCodec((NEW, OLD), "alice")
        assert both.conversation(old) == f"conv_{SUFFIX}"
        assert both.thread(f"conv_{SUFFIX}") == IdCodec((NEW,), "alice").thread(f"conv_{SUFFIX}") != old
        with pytest.raises(BadIdError):
            IdCodec((NEW,), "alice").conversation(old)


class TestTimes:
    @pytest.mark.parametrize(
        ("upstream_id", "moment"),
        [
            ("resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", 1_741_476_542),
            ("conv_69b58644a57081948324470dc5eaec820bd744e943e1aadd", 1_773_504_068),
            ("resp_0bc0cffd983db63400693fdeadd58481a2aa83ef0faac36caf", 1_765_793_453),
            ("resp_0f23d628b8934486016a3995086314819bbe0601a8ca62d55b", 1_782_158_600),
            ("msg_0bc0cffd983db63400693fdeb7040881a2aa83ef0faac36caf", 1_765_793_463),
            ("msg_67ccd2bed1ec8190b14f964abc054267", 1_741_476_542),
            ("msg_0bc0cffd983db63401693fdeb7040881a2aa83ef0faac36caf", 1_765_793_463),
            # Digits in the place of the time, in ids whose whole form is another.
            ("msg_67ccd2be-d1ec-4190-b14f-964abc054267", None),
            ("msg_67ccd2bed1ec4190b14f964abc054267", None),
            ("conv_67ccd2bed1ec4190b14f964abc0542670bb6a6b452d3795b", None),
            ("resp_67ccd2bed1ec8190c14f964abc0542670bb6a6b452d3795b", None),
            ("msg_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d379", None),
            ("msg_67ccd2be", None),
            ("67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", None),
            ("msg_0bc0cffd983db6348b693fdeb7040881a2aa83ef0faac36caf", None),
            ("msg_0bc0cffd983db63400693fdeb7040881a2aa83ef0faac36caf_0", None),
            ("conv_00000000000000000000000000000000", None),
            ("resp_ffffffffffffffffffffffffffffffffff", None),
            ("msg_1", None),
            ("", None),
            ("resp_zzzz", None),
        ],
    )
    def test_real_ids(self, upstream_id, moment):
        assert created_at_of(upstream_id, now=NOW) == moment

    def test_a_time_after_tomorrow_is_none(self):
        upstream_id = f"resp_{NOW + 3 * 86_400:08x}d1ec8190b14f964abc0542670bb6a6b452d3795b"
        assert created_at_of(upstream_id, now=NOW) is None
        assert created_at_of(upstream_id, now=NOW + 3 * 86_400) == NOW + 3 * 86_400
