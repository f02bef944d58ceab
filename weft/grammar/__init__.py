"""Structured output: from the wanted form of an answer to the tokens that may come next, through llguidance.

    form.py            `ConstraintSpec`, plain data: the grammar that an answer follows
    read.py            a request's StructuredOutputsParams as a ConstraintSpec
    json_schema.py     JSON schemas; `schema_check.py` and `schema_fault.py` say what of one cannot be enforced
    structural_tag.py  free text with tagged parts
    reasoning.py       a form behind an answer's reasoning
    tool_calls.py      the forms of tool calls
    vocabulary.py      `Vocabulary`, plain data: the bytes of each token
    compile_pool.py    `CompilePool`: compiles grammars in threads, after a trial in a process that can be killed
    compiler.py        `Compiler`: a ConstraintSpec and a Vocabulary become a `Constraint`
    constraint.py      `Constraint`: the allowed next tokens of one sequence

This floor knows bytes and token ids, no tokenizer's files, no engine and no tensors.
"""
