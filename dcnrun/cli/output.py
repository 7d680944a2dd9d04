"""Standard output that may fail: of a full disk, a closed terminal, an encoding that lacks letters."""

import io
import os


class Output(io.TextIOWrapper):
    """A standard output whose failure ends no work: what it can't take any more is dropped, and `failure` says why.

    A pipe that its reader closed is no such failure: it ends the program, as usual.
    """

    failure: OSError | None = None
    replaced: io.TextIOWrapper

    @classmethod
    def over(cls, stream: io.TextIOWrapper) -> "Output":
        """Take the place of a stream; letters that its encoding lacks are written out, such as \\xe9."""
        output = cls(
            stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=stream.line_buffering
        )
        output.replaced = stream  # which would close the file that they share if nothing held it any more
        return output

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return super().write(text)
        except OSError as error:
            return self._give_up(error, len(text))

    def flush(self) -> None:
        """Hand on what was written, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error, 0)

    def _give_up(self, error: OSError, written: int) -> int:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # where the rest of its buffer goes too
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            raise error
        self.failure = self.failure or error
        return written
