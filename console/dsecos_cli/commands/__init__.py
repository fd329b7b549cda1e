"""One module a verb: options in, calls, result out."""
