from dcnrun.offsets.names import file_names, unique


def test_unique():
    assert unique(["a", "b", "a", "a", "a (2)"]) == ["a", "b", "a (2)", "a (3)", "a (2) (2)"]


def test_file_names_are_safe_and_differ():
    assert file_names(["val_0-1", "é"]) == ["val_0-1", "é"]
    hostile = [
        "",
        "..",
        "../..",
        "/etc",
        "a/b",
        "a b",
        "sizes.png",
        "a" * 300,
        "b" * 60 + "c",
        "b" * 60 + "d",
        "\udcff",
        "\n",
    ]
    found = file_names(hostile)
    assert len(set(found)) == len(hostile)
    for name in found:
        assert name
        assert len(name.encode()) < 255
        assert not set(name) & set("/.\n \udcff")
