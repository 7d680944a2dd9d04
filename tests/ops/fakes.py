"""Stand-ins for what computes an operator."""


class FakeKernels:
    """An operator's kernels for one type of device: they load or not, note what is loaded, and compute nothing.

    Args:
        name: the operator's.
        like: the true ones, whose dtypes these have.
        loaded: where (name, dtype, device) of each kernel that was asked for is added.
        problem: why none can be loaded.
    """

    def __init__(self, name, like, loaded, problem=None):
        self.name, self.DTYPES, self.loaded, self.problem = name, like.DTYPES, loaded, problem

    def load(self, dtype, device):
        self.loaded.append((self.name, dtype, device))
        if self.problem is not None:
            raise self.problem


class FakeLibrary:
    """A CPU kernel's library that notes its functions' arguments, and answers with a status."""

    def __init__(self, status):
        self.status, self.calls = status, []

    def __getattr__(self, function):
        def call(pointer):
            self.calls.append((function, pointer._obj))
            return self.status

        return call
