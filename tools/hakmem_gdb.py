"""gdb's commands for programs that use hakmem, live ones and core files:

  hakmem info ADDRESS    what lies at the address: an object (live, free or resting), its size, class and partition; or
                         that the address is not hakmem's
  hakmem heap            the contents of the heap, per class and for large objects

gdb loads this file by itself when it lies beside the library as LIBRARY-gdb.py, or in its auto-load folder, where the
packages put it. For programs with the archive in them: `source hakmem_gdb.py`. The script reads the allocator's own
structures by the debug information of the library and calls nothing in the process. It may read a structure that a
thread has changed only in part. Works with gdb 10 and later; tested with 13."""
import bisect
import functools
import struct

import gdb

FAMILIES = {0: "malloc", 1: "new", 2: "new[]"}
SPAN_FREE, SPAN_LIVE = 1, 2  # hak_span_state
SLOT_UNUSED, SLOT_LIVE, SLOT_FREED, SLOT_HELD = range(4)  # hak_slot_state
SAMPLE_PLACE = 128 * 1024


class NoHeap(Exception):
    """Its text is for the user."""


def number(value):
    return int(value.cast(gdb.lookup_type("unsigned long"))) if value.type.strip_typedefs().code != gdb.TYPE_CODE_PTR else int(value)


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size)) if size else b""


def words(address, count, letter):
    return struct.unpack(f"<{count}{letter}", read(address, count * struct.calcsize(letter)))


@functools.lru_cache(maxsize=None)
def layout_of(name):
    return Struct(name)


class Struct:
    """The fields of a structure, read as plain numbers at once."""

    def __init__(self, name):
        self.type = gdb.lookup_type(name).strip_typedefs()
        self.size = self.type.sizeof
        self.at = {field.name: (field.bitpos // 8, field.type.strip_typedefs().sizeof) for field in self.type.fields() if field.name}

    def take(self, raw, start, name):
        offset, size = self.at[name]
        return int.from_bytes(raw[start + offset:start + offset + size], "little")


class Heap:
    """The allocator in an object file (the library, or a program with the archive in it)."""

    def __init__(self, objfile):
        self.objfile = objfile
        page = self.symbol("hak_stats_map")
        self.variant, self.version = page["variant"].string(), page["version"].string()
        self.hardened = self.variant == "hardened"
        self.slab, self.superslab, self.span = layout_of("hak_slab"), layout_of("hak_superslab"), layout_of("hak_span")
        info, raw_classes = layout_of("hak_class_info"), self.symbol("hak_classes")
        raw = read(int(raw_classes.address), raw_classes.type.sizeof)
        self.classes = [{name: info.take(raw, start, name) for name in ("size", "slots", "bin_start")} for start in range(0, len(raw), info.size)]
        self.last_class = max(cls for cls, one in enumerate(self.classes) if one["size"])
        self.threads_shards = number(self.symbol("hak_shards"))
        self.regions = self.read_regions()
        self.ledger = self.read_ledger() if self.hardened else {}
        self.samples = self.read_samples() if self.hardened else []
        self.bins = None

    def symbol(self, name, file=None):
        """The value of a variable; `file`: the source file of a static one."""
        found = self.objfile.lookup_global_symbol(name) or self.objfile.lookup_static_symbol(name) if file is None else \
            next((one for one in gdb.lookup_static_symbols(name) if one.symtab.objfile == self.objfile and one.symtab.filename.endswith(file)), None)
        if found is None:
            raise NoHeap(f"{self.objfile.filename}: no debug information of {name}")
        return found.value()

    def read_regions(self):
        table, out = self.symbol("hak_regions"), []
        for index in range(number(self.symbol("hak_regions_used"))):
            region = table[index]
            if number(region["size"]):
                out.append({"index": index, **{name: number(region[name]) for name in ("base", "size", "used", "records", "unit_shift", "record_size", "kind")}})
        return out

    def read_ledger(self):
        table = self.symbol("hak_ledger")
        return {region["index"]: {"granules": int(table[region["index"]]["granules"]), "reach": number(table[region["index"]]["reach"])} for region in self.regions}

    def read_samples(self):
        """(place, object, bytes, word, partition) of every place of the pool that was ever used."""
        file, record = "hardening/sample.c", layout_of("hak_sample")
        pool, count = number(self.symbol("pool", file)), number(self.symbol("places", file))
        records, used = int(self.symbol("samples", file)), self.symbol("used_places", file)
        self.pool = (pool, pool + count * SAMPLE_PLACE)
        bits = read(int(used.address), used.type.sizeof) if count else b""
        out = []
        for place in range(min(count, 8 * len(bits))):
            if bits[place // 8] >> place % 8 & 1:
                raw = read(records + place * record.size, record.size)
                out.append((pool + place * SAMPLE_PLACE, *(record.take(raw, 0, name) for name in ("obj", "size", "word", "partition"))))
        return out

    # Slabs ------------------------------------------------------------------------------------------------------------------------------

    def superslab_slabs(self, region, address):
        """(granule of the region, fields of the descriptor) of each slab in use in the superslab that contains
        `address`."""
        place = (address - region["base"]) >> region["unit_shift"]
        raw = read(region["records"] + place * region["record_size"], self.superslab.size)
        first = self.superslab.at["slabs"][0]
        count = self.superslab.at["slabs"][1] // self.slab.size
        used = self.superslab.take(raw, 0, "used_mask")
        granule = 0
        while granule < count:
            start = first + granule * self.slab.size
            slab = {name: self.slab.take(raw, start, name) for name in
                    ("start", "free_bits", "slots", "cls", "shard", "state", "granules", "part_from", "part_count")}
            if not used >> granule & 1 or slab["state"] == 0 or not slab["granules"] or not 0 < slab["cls"] <= self.last_class:
                granule += 1
                continue
            yield place * count + granule, slab
            granule += slab["granules"]

    def free_bits(self, slab):
        return int.from_bytes(read(slab["free_bits"], (slab["slots"] + 63) // 64 * 8), "little")

    def has_memory(self, slab, slot):
        return slab["part_count"] == 0 or slab["part_from"] <= slot < slab["part_from"] + slab["part_count"]

    def partition_of(self, slab):
        return 0 if slab["shard"] < self.threads_shards else slab["shard"] - self.threads_shards + 1

    def records_of(self, region, granule, slab):
        """What the hardened variant knows of each slot of the slab; (): nothing."""
        table, layout = self.ledger[region["index"]], layout_of("hak_granule")
        if granule << 16 >= table["reach"]:
            return ()
        run = layout.take(read(table["granules"] + granule * layout.size, layout.size), 0, "run")
        return words(run, slab["slots"], "I") if run else ()

    def objects_in_bins(self):
        """The objects in the threads' caches, sorted. In the hardened variant the ledger tells of objects in rings, and
        in bins too."""
        if self.bins is None:
            self.bins, cache = [], self.symbol("newest", "cache/cache_life.c")
            while int(cache):
                entries, top = int(cache["entries"].address), cache["top"]
                tops = words(int(top.address), self.last_class + 1, "Q")
                gone = words(int(cache["gone"].address), self.last_class + 1, "B")
                for cls in range(1, self.last_class + 1):
                    base = entries + 8 * (self.classes[cls]["bin_start"] - 1)
                    base += 8 * gone[cls]
                    if base < tops[cls] <= base + 8 * 4096:
                        self.bins += words(base + 8, (tops[cls] - base) // 8, "Q")
                cache = cache["older"]
            self.bins.sort()
        return self.bins

    def rests(self, obj):
        at = bisect.bisect_left(self.objects_in_bins(), obj)
        return at < len(self.bins) and self.bins[at] == obj

    def slot_says(self, region, granule, slab, slot):
        obj = slab["start"] + slot * self.classes[slab["cls"]]["size"]
        if not self.has_memory(slab, slot):
            return "free: it has no memory yet"
        if self.free_bits(slab) >> slot & 1:
            return "free"
        if not self.hardened:
            return "resting in a thread's cache: it was freed" if self.rests(obj) else "live"
        records = self.records_of(region, granule, slab)
        return word_says(records[slot]) if records else "resting in a thread's cache"

    def info_slot(self, region, address):
        granule_at = (address - region["base"]) >> 16
        for granule, slab in self.superslab_slabs(region, address):
            if granule <= granule_at < granule + slab["granules"]:
                break
        else:
            return ["free: no slab lies there"]
        size = self.classes[slab["cls"]]["size"]
        slot = (address - slab["start"]) // size if address >= slab["start"] else slab["slots"]
        lines = [f"class {slab['cls']}, slots of {size} bytes; partition {self.partition_of(slab) or 'none'}"]
        if slot >= slab["slots"]:
            return ["no slot: the end of a slab", *lines]
        return [f"{place_of(address, slab['start'] + slot * size)}slot {slot} of a slab: {self.slot_says(region, granule, slab, slot)}", *lines]

    # Large objects ----------------------------------------------------------------------------------------------------------------------

    def spans(self, region):
        """(start, granules, state, bytes, tail) from the region's start to the end of its used part."""
        raw, at = read(region["records"], (region["used"] >> 16) * self.span.size), 0
        while at < len(raw):
            granules = max(1, self.span.take(raw, at, "granules"))
            yield (region["base"] + (at // self.span.size << 16), granules, self.span.take(raw, at, "state"), self.span.take(raw, at, "capacity"))
            at += granules * self.span.size

    def large_word(self, region, start):
        """(requested bytes, record) of the hardened variant."""
        table, layout = self.ledger[region["index"]], layout_of("hak_large_record")
        raw = read(table["granules"] + (start - region["base"] >> 16) * layout.size, layout.size)
        return layout.take(raw, 0, "size"), layout.take(raw, 0, "word")

    def partition_of_region(self, region):
        kinds = {field.name: field.enumval for field in gdb.lookup_type("hak_region_kind").strip_typedefs().fields()}
        return max(0, region["kind"] - kinds["HAK_REGION_TYPED"] + 1)

    def info_large(self, region, address):
        for start, granules, state, capacity in self.spans(region):
            if start <= address < start + (granules << 16):
                break
        else:
            return ["free: never used"]
        lines = [f"memory of large objects, {granules << 16} bytes; partition {self.partition_of_region(region) or 'none'}"]
        if state != SPAN_LIVE:
            return ["free", *lines]
        if not self.hardened:
            return [f"{place_of(address, start)}large object of {capacity} bytes: live", *lines]
        size, word = self.large_word(region, start)
        return [f"{place_of(address, start)}large object of {size} bytes: {word_says(word, None)}", *lines]

    # ------------------------------------------------------------------------------------------------------------------------------------

    def info_sample(self, address):
        for place, obj, size, word, partition in self.samples:
            if place <= address < place + SAMPLE_PLACE:
                where = "" if obj <= address < obj + max(1, size) else f" ({address - obj - size} bytes behind its end)" if address >= obj else f" ({obj - address} bytes before it)"
                return [f"{'near a ' if where else place_of(address, obj)}sampled object of {size} bytes: {word_says(word, None)}{where}",
                        f"between guards; partition {partition or 'none'}; it begins at {obj:#x}"]
        return ["no object: a place for sampled objects that was never used"]

    def info(self, address):
        """Lines of text; none: the address is not ours."""
        if self.hardened and self.pool[0] <= address < self.pool[1]:
            return self.info_sample(address)
        for region in self.regions:
            if 0 <= address - region["base"] < region["used"]:
                return (self.info_slot if region["record_size"] == self.superslab.size else self.info_large)(region, address)
        return []

    def count_slab(self, counts, region, granule, slab):
        free, records = self.free_bits(slab), self.records_of(region, granule, slab) if self.hardened else ()
        all_slots = slab["part_count"] or slab["slots"]
        is_free = bin(free).count("1")
        size = self.classes[slab["cls"]]["size"]
        if self.hardened:
            live = sum(1 for slot, word in enumerate(records) if word & 3 == SLOT_LIVE and not free >> slot & 1)
        else:
            bins = self.objects_in_bins()
            resting = bisect.bisect_left(bins, slab["start"] + slab["slots"] * size) - bisect.bisect_left(bins, slab["start"])
            live = all_slots - is_free - resting
        counts[0] += live
        counts[1] += all_slots - is_free - live
        counts[2] += is_free

    def heap(self):
        """({class: [live, resting, free]}, [live large objects, bytes, resting ones, bytes, free bytes])"""
        per_class, large = {}, [0] * 5
        for region in self.regions:
            if region["record_size"] == self.superslab.size:
                for address in range(region["base"], region["base"] + region["used"], 1 << region["unit_shift"]):
                    for granule, slab in self.superslab_slabs(region, address):
                        self.count_slab(per_class.setdefault(slab["cls"], [0, 0, 0]), region, granule, slab)
                continue
            for start, granules, state, capacity in self.spans(region):
                if state == SPAN_LIVE:
                    rests = self.hardened and self.large_word(region, start)[1] & 3 != SLOT_LIVE
                    large[2 * rests] += 1
                    large[2 * rests + 1] += capacity
                elif state == SPAN_FREE:
                    large[4] += granules << 16
        return per_class, large


def place_of(address, start):
    return "" if address == start else f"{address - start} bytes into the object at {start:#x}: "


def word_says(word, size_shift=14):
    """A record of the hardened variant (hardening/ledger.h)."""
    state = word & 3
    of = "" if size_shift is None else f", {word >> size_shift} bytes asked for"
    if state == SLOT_LIVE:
        return f"live{of}, made by {FAMILIES.get(word >> 2 & 3, '?')}"
    if state == SLOT_FREED:
        return f"resting: it was freed{of and ', ' + str(word >> size_shift) + ' bytes had been asked for'}"
    return "on its way: being freed or resized" if state == SLOT_HELD else "resting: it was never given out"


def heaps():
    """The heaps of the process; if there is none, an error that names libraries without debug information."""
    found, wrong = [], []
    for objfile in gdb.objfiles():
        if not objfile.is_valid() or not objfile.filename or objfile.owner is not None:
            continue
        try:
            if objfile.lookup_global_symbol("hak_stats_map") is not None:
                found.append(Heap(objfile))
            elif "hakmem" in objfile.filename.rsplit("/", 1)[-1] and objfile.filename.rsplit("/", 1)[-1].startswith("libhakmem"):
                wrong.append(f"{objfile.filename}: no debug information; the packages libhakmem0-dbgsym and libhakmem-hardened0-dbgsym have it")
        except NoHeap as error:
            wrong.append(str(error))
    if not found:
        raise gdb.GdbError("hakmem: " + ("; ".join(wrong) or "not in this process"))
    return found


def guarded(command):
    """Prints errors of reading as one line."""
    def run(self, argument, _from_tty):
        try:
            command(self, argument)
        except gdb.MemoryError as error:
            raise gdb.GdbError(f"hakmem: {error}: the memory cannot be read (a core file without it, or a heap that is changing)") from error
    return run


class Hakmem(gdb.Command):
    """The heap of hakmem: hakmem info ADDRESS, hakmem heap."""

    def __init__(self):
        super().__init__("hakmem", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class Info(gdb.Command):
    """hakmem info ADDRESS: what lies at the address (an expression): an object, live, free or resting, or nothing of hakmem's."""

    def __init__(self):
        super().__init__("hakmem info", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    @guarded
    def invoke(self, argument):
        if not argument.strip():
            raise gdb.GdbError("hakmem info ADDRESS")
        address = int(gdb.parse_and_eval(argument)) & (1 << 64) - 1
        lines = next((lines for lines in (heap.info(address) for heap in heaps()) if lines), None)
        print(f"{address:#x}: " + ("\n  ".join(lines) if lines else "not hakmem's"))


class Walk(gdb.Command):
    """hakmem heap: objects and bytes, live, resting and free, per class; large objects; sampled ones."""

    def __init__(self):
        super().__init__("hakmem heap", gdb.COMMAND_DATA, gdb.COMPLETE_NONE)

    @guarded
    def invoke(self, _argument):
        for heap in heaps():
            per_class, large = heap.heap()
            print(f"hakmem {heap.version}, {heap.variant} variant")
            print(f"{'class':>8}{'bytes':>10}{'live':>12}{'resting':>12}{'free':>12}{'live MiB':>12}")
            for cls, (live, rests, free) in sorted(per_class.items()):
                size = heap.classes[cls]["size"]
                print(f"{cls:>8}{size:>10}{live:>12}{rests:>12}{free:>12}{live * size / 2**20:>12.2f}")
            print(f"large: {large[0]} live, {large[1]} bytes; {large[2]} resting, {large[3]} bytes; free: {large[4]} bytes")
            if heap.hardened:
                live = [size for _, _, size, word, _ in heap.samples if word & 3 == SLOT_LIVE]
                print(f"sampled: {len(live)} live, {sum(live)} bytes; {len(heap.samples) - len(live)} resting")


Hakmem()
Info()
Walk()
