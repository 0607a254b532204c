from dicomnode.inference.calls import Deaths


def test_an_end_of_a_server_counts_once():
    deaths = Deaths()

    assert [deaths.is_first(at) for at in (100.0, 100.5, 109.0, 110.5, 111.0)] == [
        *(True, False, False, True, False)
    ]
