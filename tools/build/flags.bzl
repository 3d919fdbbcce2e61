"""A string build setting without bazel_skylib (workloads on 4.2.3, 7, 8, 9)."""

_Value = provider(fields = ["value"])

def _impl(ctx):
    if ctx.build_setting_value not in ctx.attr.values:
        fail("bad value %r for %s, want one of %s" % (ctx.build_setting_value, ctx.label, ctx.attr.values))
    return [_Value(value = ctx.build_setting_value)]

string_flag = rule(
    implementation = _impl,
    build_setting = config.string(flag = True),
    attrs = {"values": attr.string_list()},
)
