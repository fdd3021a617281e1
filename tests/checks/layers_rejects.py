#!/usr/bin/env python3
"""Shows that check_layers notices: each case is a small tree of headers with one thing wrong, and the message
that must come. The whole tree, with nothing wrong, must pass."""

import pathlib
import subprocess
import sys
import tempfile

TOP = "/// \\file\n/// A header.\n#pragma once\n"

WHOLE = {
    "core/error.hpp": TOP + "#include <string>\n",
    "core/random.hpp": TOP + '#include "easy_diffusion/core/detail/philox.hpp"\n',
    "core/detail/philox.hpp": TOP + "#include <cstdint>\n",
    "core/tensor.hpp": TOP + '#include "error.hpp"\n#include <sched.h>\n#include <omp.h>\n',
    "ops/matmul.hpp": TOP + "#include <easy_diffusion/core/tensor.hpp>\n",
    "ops/detail/gemm.hpp": TOP + "#include <Eigen/Core>\n#include <xsimd/xsimd.hpp>\n",
    "nn/linear.hpp": TOP + '#include "easy_diffusion/ops/matmul.hpp"\n#include "../core/tensor.hpp"\n',
    "sde/noise.hpp": TOP + '#include "easy_diffusion/core/random.hpp"\n',
    "io/picture.hpp": TOP + "#include <stb_image.h>\n#include <nlohmann/json.hpp>\n#include <zlib.h>\n",
    "sde/cites.hpp": TOP + "/// By rounding \\cite known_2000_paper.\n",
    "easy_diffusion.hpp": TOP + '#include "easy_diffusion/nn/linear.hpp"\n',
    "io/hash.hpp": TOP + 'int f(char* s, unsigned x) { return snprintf(s, 9, "%02x %lld", x % 8, 1LL); }  // stod(s), "%g"\n',
    "io/json.hpp": TOP + "auto f(const char* s) { return nlohmann::json::parse(s); }\n",
    "io/comment.hpp": TOP + '// #include <iostream>\n/*\n#include <regex>\n*/\nconst char* const x = "/*";\n',
}

# name: (files added or replaced, the message that must come)
CASES = {
    "a floor looks upward": ({"core/up.hpp": TOP + '#include "easy_diffusion/nn/linear.hpp"\n'},
                             "core/up.hpp:4: includes easy_diffusion/nn/linear.hpp, but core/ may include only nothing"),
    "through a relative path": ({"ops/up.hpp": TOP + '#include "../nn/linear.hpp"\n'}, "ops/ may include only core"),
    "sde takes a tensor": ({"sde/up.hpp": TOP + '#include "easy_diffusion/core/tensor.hpp"\n'},
                           "sde/ may include only core/random, core/error, core/number_text, core/parallel"),
    "diffusion takes a network": ({"diffusion/up.hpp": TOP + '#include "easy_diffusion/nn/linear.hpp"\n'},
                                  "diffusion/ may include only core, sde"),
    "the header of everything": ({"nn/all.hpp": TOP + '#include "easy_diffusion/easy_diffusion.hpp"\n'},
                                 "may not include the header of everything"),
    "Eigen outside ops/detail": ({"ops/a.hpp": TOP + "#include <Eigen/Dense>\n"}, "allowed only under ops/detail/"),
    "xsimd outside ops/detail": ({"nn/a.hpp": TOP + "#  include <xsimd/xsimd.hpp>\n"}, "allowed only under ops/detail/"),
    "stb outside io": ({"data/a.hpp": TOP + "#include <stb_image.h>\n"}, "allowed only under io/"),
    "an unknown library": ({"core/a.hpp": TOP + "#include <boost/any.hpp>\n"}, "no dependency of the library"),
    "iostream": ({"io/a.hpp": TOP + "#include <iostream>\n"}, "io/a.hpp:4: includes <iostream>"),
    "regex": ({"io/a.hpp": TOP + "#include <regex>\n"}, "includes <regex>"),
    "a header that is not there": ({"nn/a.hpp": TOP + '#include "easy_diffusion/nn/nowhere.hpp"\n'},
                                   "no header of the library"),
    "a floor that is not there": ({"attic/a.hpp": TOP}, "attic/ is not a floor of the plan"),
    "another extension": ({"core/a.h": TOP}, "headers end in .hpp"),
    "too long": ({"core/a.hpp": TOP + "//\n" * 700}, "core/a.hpp:600: 703 lines"),
    "no guard": ({"core/a.hpp": "/// \\file\n/// A header.\n"}, "no #pragma once"),
    "no purpose": ({"core/a.hpp": "#pragma once\n"}, "no purpose line"),
    "a macro of another name": ({"core/a.hpp": TOP + "#define MAX 3\n"}, "macro MAX"),
    "a source that is not there": ({"core/a.hpp": TOP + "/// \\cite nobody_1900_nothing\n"},
                                   "core/a.hpp:4: cites nobody_1900_nothing"),
    "a number read by the locale": ({"io/a.hpp": TOP + "double f(const char* s) { return std::strtod(s, nullptr); }\n"},
                                    "io/a.hpp:4: strtod(: reads numbers by the locale"),
    "a number written by the locale": ({"io/a.hpp": TOP + 'int f(char* s) { return snprintf(s, 9, "x %5.2f", 1.0); }\n'},
                                       "writes numbers by the locale"),
    "JSON of any depth": ({"io/a.hpp": TOP + "auto f(const char* s) { return nlohmann::json::parse(s); }\n"},
                          "io/a.hpp:4: json::parse: reads JSON of any depth"),
    "too many macros": ({"core/a.hpp": TOP + "".join(f"#define EASY_DIFFUSION_{c}\n" for c in "ABCDEF")}, "6 macros"),
}


def check(checker, files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, "include", "easy_diffusion", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        bibliography = pathlib.Path(folder, "docs", "bibliography.bib")
        bibliography.parent.mkdir()
        bibliography.write_text("@book{known_2000_paper, title = {Known}}\n")
        run = subprocess.run([sys.executable, checker, "--root", folder], capture_output=True, text=True)
        return run.returncode, run.stdout + run.stderr


def main():
    checker = sys.argv[1]
    failures = 0
    code, output = check(checker, WHOLE)
    if code != 0:
        failures += 1
        print(f"FAILED: the whole tree must pass, and gave {code}:\n{output}")
    for name, (files, message) in CASES.items():
        code, output = check(checker, {**WHOLE, **files})
        if code != 1 or message not in output:
            failures += 1
            print(f"FAILED: {name}: exit code {code} (wanted 1), message wanted: {message}\n{output}")
    code, output = check(checker, {})
    if code != 2:
        failures += 1
        print(f"FAILED: a folder without headers must give 2, and gave {code}:\n{output}")
    code, output = check(checker, {**WHOLE, "core/a.hpp": TOP + "//\n" * 450})
    if code != 0 or "warning: include/easy_diffusion/core/a.hpp: 453 lines" not in output:
        failures += 1
        print(f"FAILED: 453 lines must be warned of, and gave {code}:\n{output}")
    print(f"{len(CASES) + 3 - failures} cases noticed, {failures} missed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
