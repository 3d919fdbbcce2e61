#!/usr/bin/env -S python3 -B
"""fast_path_rules_test.py: the rules of tests/lint/fast_path.py, on assembly whose fast path is known."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fast_path

ASSEMBLY = """
.macro begin name
.globl \\name
.type \\name, @function
\\name:
.endm
.macro end name
.size \\name, . - \\name
.endm
.text
begin cold_side_falls_through
    cmpq $0, (%rdi)
    jne 1f
    call slow@PLT
    ret
1:  movq %rax, 8(%rdi)
    ret
end cold_side_falls_through
begin prefixed_call_is_cold
    cmpq $0, (%rdi)
    jne 1f
    addr32 call hak_slow
    ret
1:  movq %rax, 8(%rdi)
    ret
end prefixed_call_is_cold
begin neither_side_is_cold
    testq %rdi, %rdi
    je 1f
    incq (%rdi)
1:  ret
end neither_side_is_cold
begin wrapper
    jmp neither_side_is_cold
end wrapper
begin hak_slow
    ret
end hak_slow
begin only_slow
    jmp hak_slow
end only_slow
begin call_on_every_way
    pushq %rbx
    call memset@PLT
    popq %rbx
    leaq 8(%rdi), %rax
    ret
end call_on_every_way
"""


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            library = os.path.join(folder, "sample.so")
            command = ["clang-19", "-shared", "-nostdlib", "-fuse-ld=lld-19", "-Wl,-Bsymbolic", "-x", "assembler", "-", "-o", library]
            subprocess.run(command, input=ASSEMBLY, text=True, check=True)
            cls.library = fast_path.Library(library)

    def expect(self, name, *counts):
        self.assertEqual(tuple(fast_path.fast_path(self.library, name).values()), counts)

    def test_a_side_that_only_leads_to_a_call_is_left(self):
        self.expect("cold_side_falls_through", 4, 1, 1, 1, 0)

    def test_a_call_is_one_with_the_prefix_of_the_linker_too(self):
        self.expect("prefixed_call_is_cold", 4, 1, 1, 1, 0)

    def test_the_fall_through_is_taken_when_neither_side_is_cold(self):
        self.expect("neither_side_is_cold", 4, 1, 1, 1, 0)

    def test_a_jump_to_another_function_is_followed(self):
        self.expect("wrapper", 5, 1, 1, 2, 0)

    def test_a_jump_to_a_slow_function_ends_the_path_as_a_call(self):
        self.expect("only_slow", 1, 0, 0, 1, 1)

    def test_a_call_on_every_way_is_passed_over(self):
        self.expect("call_on_every_way", 5, 1, 1, 0, 1)


unittest.main()
