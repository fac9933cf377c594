from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.soc.order import Loops

LOOPS = st.builds(
    Loops,
    tokens=st.integers(1, 9),
    outputs=st.integers(1, 9),
    token_room=st.integers(1, 4),
    output_room=st.integers(1, 4),
    outputs_stay=st.booleans(),
)


def test_order_by_hand():
    loops = Loops(tokens=3, outputs=2, token_room=2, output_room=1)
    assert [one.tiles for one in loops.passes()] == [
        [(0, 0), (1, 0)],
        [(0, 1), (1, 1)],
        [(2, 0)],
        [(2, 1)],
    ]
    order = [(load.side[0], load.block) for load in loops.loads()]
    assert order == [
        ("t", 0), ("t", 1), ("o", 0), ("o", 1), ("t", 2), ("o", 0), ("o", 1),
    ]  # fmt: skip


def test_the_other_side_stays():
    loops = Loops(tokens=3, outputs=2, token_room=2, output_room=1, outputs_stay=True)
    assert [one.tiles for one in loops.passes()] == [
        [(0, 0), (1, 0)],
        [(2, 0)],
        [(0, 1), (1, 1)],
        [(2, 1)],
    ]


@given(LOOPS)
def test_every_tile_runs_once(loops):
    tiles = [tile for one in loops.passes() for tile in one.tiles]
    assert sorted(tiles) == [(t, o) for t in range(loops.tokens) for o in range(loops.outputs)]


@given(LOOPS)
def test_blocks_are_there_when_their_pass_begins_and_halves_are_free_for_them(loops):
    """Two halves a side: a group may come when the one two before has been given free."""
    passes, done = loops.passes(), 0
    full, released = set(), set()
    for load in loops.loads():
        assert load.group < 2 or (load.side, load.group - 2) in released
        if load.final:
            full.add((load.side, load.group))
        while done < len(passes) and full.issuperset(passes[done].groups.items()):
            released |= {(side, passes[done].groups[side]) for side in passes[done].released}
            done += 1
    assert done == len(passes)
    assert released == full


@given(LOOPS)
def test_blocks_that_stay_come_once(loops):
    loads = [load for load in loops.loads() if load.side == loops.outer]
    blocks = loops.tokens if loops.outer == "tokens" else loops.outputs
    assert [load.block for load in loads] == list(range(blocks))
