-- Wireshark dissector of trinic's SRD, version 1 (docs/spec/srd.md; the numbers in brackets are its requirements).
--
-- For Wireshark and tshark from 4.0 (Lua 5.2) to 4.4 (Lua 5.4), so it uses no operator that only one of them has.
--   tshark -X lua_script:docs/spec/srd.lua -r capture.pcap
-- It takes datagrams to the port of the preference srd.ports, and any other UDP datagram that has the form of an SRD
-- packet. It knows no keys: tags are shown, not verified. Whatever the bytes are, it reads only what was captured: a
-- packet that contradicts the specification gets expert information.

local srd = Proto("srd", "Scalable Reliable Datagrams (trinic)")

local DEFAULT_PORT = 64773 -- PKT-2
local VERSION = 1
local HELLO, DATA, ACK = 1, 2, 3
local BASE_BYTES, TAG_BYTES = 20, 12
local HELLO_BYTES, HELLO_FIXED_BYTES = 92, 32 -- NEG-2: what is the same in every version ends at offset 32
local ACK_COUNTS_BYTES, WORD_BYTES, ECHO_BYTES, REFUSAL_BYTES = 24, 8, 12, 8
local MOST_WORDS, MOST_ECHOES, MOST_REFUSALS = 128, 64, 64
local MOST_PATHS = 64 -- PTH-1
local LEAST_DATAGRAM = 256 -- NEG-3
local FAILED_READ = 0xffffffff -- LIM-3
local MOST_RDMA_BYTES = 2 ^ 30 -- section 9
local ROUND = 2 ^ 32 -- PSNs and TXNs wrap here

local TYPES = { [HELLO] = "HELLO", [DATA] = "DATA", [ACK] = "ACK" }

local OPERATIONS = {
  [1] = "SEND", [2] = "SEND_IMMEDIATE", [3] = "VOID", [4] = "WRITE", [5] = "WRITE_IMMEDIATE",
  [6] = "READ_REQUEST", [7] = "READ_RESPONSE",
}

-- REF-1
local REASONS = {
  [1] = "receiver not ready", [2] = "bad queue pair", [3] = "bad queue key", [4] = "message too long for the buffer",
  [5] = "bad remote key", [6] = "remote address outside of its region", [7] = "not permitted by the region",
  [8] = "malformed", [9] = "too many operations", [10] = "dropped",
}

-- Fields ------------------------------------------------------------------------------------------------------------

local f = {
  version = ProtoField.uint8("srd.version", "Version", base.DEC, nil, 0xf0),
  type = ProtoField.uint8("srd.type", "Type", base.DEC, TYPES, 0x0f),
  flags = ProtoField.uint8("srd.flags", "Flags", base.HEX),
  flag_ack_now = ProtoField.bool("srd.flags.ack_now", "Acknowledge at once", 8, nil, 0x01),
  flag_again = ProtoField.bool("srd.flags.retransmission", "Retransmission", 8, nil, 0x02),
  flag_payload_tag = ProtoField.bool("srd.flags.payload_tag", "The tag covers the payload", 8, nil, 0x04),
  flag_unknown = ProtoField.uint8("srd.flags.unknown", "Unknown", base.HEX, nil, 0xf8),
  length = ProtoField.uint16("srd.length", "Length", base.DEC),
  context = ProtoField.uint32("srd.context", "Context", base.DEC),
  psn = ProtoField.uint32("srd.psn", "PSN", base.DEC),
  txn = ProtoField.uint32("srd.txn", "TXN", base.DEC),
  path = ProtoField.uint8("srd.path", "Path", base.DEC),
  operation = ProtoField.uint8("srd.operation", "Operation", base.DEC, OPERATIONS),
  epoch = ProtoField.uint16("srd.epoch", "Key epoch", base.DEC),
  tag = ProtoField.bytes("srd.tag", "Tag"),
  payload = ProtoField.bytes("srd.payload", "Payload"),
  payload_length = ProtoField.uint32("srd.payload.length", "Payload length", base.DEC),
  zero = ProtoField.bytes("srd.zero", "Zero"),
  rest = ProtoField.bytes("srd.rest", "Not dissected"),
  again_of = ProtoField.framenum("srd.retransmission.of", "Retransmission of", base.NONE, frametype.RETRANS_PREV),

  qp_source = ProtoField.uint16("srd.qp.source", "Source queue pair", base.DEC),
  qp_destination = ProtoField.uint16("srd.qp.destination", "Destination queue pair", base.DEC),
  qkey = ProtoField.uint32("srd.qkey", "Queue key", base.HEX),
  immediate = ProtoField.uint32("srd.immediate", "Immediate data", base.HEX),

  rdma_id = ProtoField.uint32("srd.rdma.id", "Operation id", base.DEC),
  rdma_key = ProtoField.uint32("srd.rdma.key", "Remote key", base.HEX),
  rdma_address = ProtoField.uint64("srd.rdma.address", "Remote address", base.HEX),
  rdma_segment = ProtoField.uint32("srd.rdma.segment", "Segment index", base.DEC),
  rdma_segments = ProtoField.uint32("srd.rdma.segments", "Segment count", base.DEC),
  rdma_length = ProtoField.uint32("srd.rdma.length", "Length of the read", base.DEC),
  rdma_offset = ProtoField.uint32("srd.rdma.offset", "Offset in the read", base.DEC),
  rdma_total = ProtoField.uint32("srd.rdma.total", "Total length", base.DEC),
  rdma_failure = ProtoField.uint32("srd.rdma.failure", "The read failed", base.DEC, REASONS),

  ack_next = ProtoField.uint32("srd.ack.next", "Next expected PSN", base.DEC),
  ack_words = ProtoField.uint8("srd.ack.words", "Bitmap words", base.DEC),
  ack_echoes = ProtoField.uint8("srd.ack.echoes", "Path echoes", base.DEC),
  ack_refusals = ProtoField.uint8("srd.ack.refusals", "Refusals", base.DEC),
  ack_bitmap = ProtoField.bytes("srd.ack.bitmap", "Bitmap"),
  ack_beyond = ProtoField.uint32("srd.ack.beyond", "PSNs that arrived beyond the next expected", base.DEC),
  ack_range = ProtoField.string("srd.ack.range", "Arrived"),
  ack_first = ProtoField.uint32("srd.ack.range.first", "First PSN", base.DEC),
  ack_last = ProtoField.uint32("srd.ack.range.last", "Last PSN", base.DEC),

  echo = ProtoField.none("srd.echo", "Path echo"),
  echo_path = ProtoField.uint8("srd.echo.path", "Path", base.DEC),
  echo_delay = ProtoField.uint16("srd.echo.delay", "Delay, units of 64 ns", base.DEC),
  echo_delay_ns = ProtoField.uint32("srd.echo.delay_ns", "Delay, ns", base.DEC),
  echo_txn = ProtoField.uint32("srd.echo.txn", "Highest TXN", base.DEC),
  echo_ce = ProtoField.uint16("srd.echo.ce", "CE-marked packets, modulo 65536", base.DEC),
  echo_packets = ProtoField.uint16("srd.echo.packets", "Packets, modulo 65536", base.DEC),

  refusal = ProtoField.none("srd.refusal", "Refusal"),
  refusal_psn = ProtoField.uint32("srd.refusal.psn", "PSN", base.DEC),
  refusal_reason = ProtoField.uint8("srd.refusal.reason", "Reason", base.DEC, REASONS),

  hello_lowest = ProtoField.uint8("srd.hello.version.lowest", "Lowest version", base.DEC),
  hello_highest = ProtoField.uint8("srd.hello.version.highest", "Highest version", base.DEC),
  hello_datagram = ProtoField.uint16("srd.hello.datagram", "Largest datagram, bytes", base.DEC),
  hello_window = ProtoField.uint32("srd.hello.window", "Window, packets", base.DEC),
  hello_rdma = ProtoField.uint16("srd.hello.rdma", "RDMA operations", base.DEC),
  hello_features = ProtoField.uint16("srd.hello.features", "Features", base.HEX),
  hello_payload_tag = ProtoField.bool("srd.hello.features.payload_tag", "Tags cover payloads", 16, nil, 0x0001),
  hello_unknown = ProtoField.uint16("srd.hello.features.unknown", "Unknown", base.HEX, nil, 0xfffe),
  hello_sender = ProtoField.uint64("srd.hello.incarnation.sender", "Sender's incarnation", base.HEX),
  hello_receiver = ProtoField.uint64("srd.hello.incarnation.receiver", "Receiver's incarnation", base.HEX),
  hello_sender_gid = ProtoField.ipv6("srd.hello.gid.sender", "Sender's GID"),
  hello_receiver_gid = ProtoField.ipv6("srd.hello.gid.receiver", "Receiver's GID"),
}
srd.fields = f

local function malformed(name, text)
  return ProtoExpert.new("srd.bad." .. name, text, expert.group.MALFORMED, expert.severity.ERROR)
end

local function doubtful(name, text)
  return ProtoExpert.new("srd.doubt." .. name, text, expert.group.PROTOCOL, expert.severity.WARN)
end

local e = {
  short = malformed("short", "Shorter than its header (PKT-5)"),
  length = malformed("length", "The length is not the datagram's (PKT-5)"),
  type = malformed("type", "Unknown type (PKT-5)"),
  operation = malformed("operation", "Unknown operation (PKT-5)"),
  flags = malformed("flags", "Unknown flag (PKT-5)"),
  count = malformed("count", "More than the specification allows (section 2.2)"),
  trailing = malformed("trailing", "Bytes after the header of a packet that has no payload"),
  payload = malformed("payload", "Payload where none belongs (PKT-8)"),
  segment = malformed("segment", "The segment index is not below the count (PKT-8)"),
  beyond = malformed("beyond", "The response reaches beyond its total length (PKT-8)"),
  reason = malformed("reason", "Unknown reason (REF-1)"),
  incarnation = malformed("incarnation", "A sender's incarnation is not 0 (SES-1)"),
  datagram = malformed("datagram", "A datagram size below 256 bytes (NEG-3)"),
  versions = malformed("versions", "The lowest version is above the highest"),
  version = doubtful("version", "Another version (PKT-6)"),
  zero = doubtful("zero", "A field that is to be zero is not"),
  path = doubtful("path", "A path beyond the most that a session has (PTH-1)"),
  rdma_length = doubtful("rdma_length", "Longer than the longest RDMA operation (section 9)"),
  cut = ProtoExpert.new("srd.cut", "The capture cut the packet within its header", expert.group.UNDECODED,
    expert.severity.NOTE),
  again = ProtoExpert.new("srd.retransmitted", "Retransmission (REL-8)", expert.group.SEQUENCE,
    expert.severity.NOTE),
  refused = ProtoExpert.new("srd.refused", "A packet is refused (REF-1)", expert.group.RESPONSE_CODE,
    expert.severity.NOTE),
}
do
  local all = {}
  for _, info in pairs(e) do
    all[#all + 1] = info
  end
  srd.experts = all
end

srd.prefs.ports = Pref.range("UDP ports", tostring(DEFAULT_PORT), "Destination ports of SRD packets (PKT-2)", 65535)

-- What is at each place --------------------------------------------------------------------------------------------

-- Fields of an operation after offset 32: name and size in bytes.
local SEGMENT = {
  { "rdma_id", 4 }, { "rdma_key", 4 }, { "rdma_address", 8 }, { "rdma_segment", 4 }, { "rdma_segments", 4 },
}
local OWN_FIELDS = {
  [1] = {}, [2] = {}, [3] = {}, [4] = SEGMENT, [5] = SEGMENT,
  [6] = { { "rdma_id", 4 }, { "rdma_key", 4 }, { "rdma_address", 8 }, { "rdma_length", 4 }, { "zero", 4 } },
  [7] = { { "rdma_id", 4 }, { "rdma_offset", 4 }, { "rdma_total", 4 } },
}
local OWN_OFFSET = 32
local NO_PAYLOAD = { [3] = true, [6] = true }
local HAS_IMMEDIATE = { [2] = true, [5] = true }

-- The length of a packet's header, tag included. Nil: too little was captured to tell, or type or operation is unknown.
local function header_bytes(tvb)
  if tvb:captured_len() < BASE_BYTES then
    return nil
  end
  local kind = tvb(0, 1):bitfield(4, 4)
  if kind == HELLO then
    return HELLO_BYTES
  elseif kind == DATA then
    local own = OWN_FIELDS[tvb(17, 1):uint()]
    if not own then
      return nil
    end
    local bytes = OWN_OFFSET + TAG_BYTES
    for _, field in ipairs(own) do
      bytes = bytes + field[2]
    end
    return bytes
  elseif kind == ACK and tvb:captured_len() >= ACK_COUNTS_BYTES then
    return ACK_COUNTS_BYTES + tvb(20, 1):uint() * WORD_BYTES + tvb(21, 1):uint() * ECHO_BYTES
      + tvb(22, 1):uint() * REFUSAL_BYTES + TAG_BYTES
  end
  return nil
end

-- Adds a field that is to be zero, seen only where it is not.
local function add_zero(tree, range)
  local item = tree:add(f.zero, range)
  for index = 0, range:len() - 1 do
    if range(index, 1):uint() ~= 0 then
      item:add_proto_expert_info(e.zero)
      return
    end
  end
  item:set_hidden(true)
end

local function add_rest(tree, tvb, offset)
  if tvb:captured_len() > offset then
    tree:add(f.rest, tvb(offset))
  end
end

local function add_tag(tree, range)
  tree:add(f.tag, range):append_text(" (not verified)")
end

local function add_path(tree, field, range)
  local item = tree:add(field, range)
  if range:uint() >= MOST_PATHS then
    item:add_proto_expert_info(e.path)
  end
end

-- Retransmissions --------------------------------------------------------------------------------------------------

local last_frame = {} -- the last frame with a packet, by way and PSN
local again_of = {} -- the frame before, by the retransmission's frame

function srd.init()
  last_frame, again_of = {}, {}
end

-- The number of the frame with the transmission before this one, if this one is a retransmission and it was seen.
local function transmission_before(tvb, pinfo, is_again)
  if not pinfo.visited then
    local key = table.concat({
      tostring(pinfo.src), tostring(pinfo.dst), pinfo.dst_port, tvb(4, 4):uint(), tvb(8, 4):uint(),
    }, " ")
    again_of[pinfo.number] = is_again and last_frame[key] or nil
    last_frame[key] = pinfo.number
  end
  return again_of[pinfo.number]
end

-- Base header ------------------------------------------------------------------------------------------------------

local function add_flags(tree, range)
  local flags = tree:add(f.flags, range)
  flags:add(f.flag_ack_now, range)
  flags:add(f.flag_again, range)
  flags:add(f.flag_payload_tag, range)
  local unknown = flags:add(f.flag_unknown, range)
  if range:bitfield(0, 5) ~= 0 then
    unknown:add_proto_expert_info(e.flags)
  else
    unknown:set_hidden(true)
  end
end

-- Offsets 0 to 19. The caller has seen to it that they were captured.
local function add_base(tree, tvb, kind)
  local version = tree:add(f.version, tvb(0, 1))
  if tvb(0, 1):bitfield(0, 4) ~= VERSION then
    version:add_proto_expert_info(e.version)
  end
  local kind_item = tree:add(f.type, tvb(0, 1))
  if not TYPES[kind] then
    kind_item:add_proto_expert_info(e.type)
  end
  add_flags(tree, tvb(1, 1))
  local length = tree:add(f.length, tvb(2, 2))
  if tvb(2, 2):uint() ~= tvb:reported_len() then
    length:add_proto_expert_info(e.length, "The length is not the datagram's " .. tvb:reported_len() .. " (PKT-5)")
  end
  tree:add(f.context, tvb(4, 4))
  if kind == DATA then
    tree:add(f.psn, tvb(8, 4))
    tree:add(f.txn, tvb(12, 4))
    add_path(tree, f.path, tvb(16, 1))
    local operation = tree:add(f.operation, tvb(17, 1))
    if not OPERATIONS[tvb(17, 1):uint()] then
      operation:add_proto_expert_info(e.operation)
    end
  else
    if kind == ACK then
      tree:add(f.ack_next, tvb(8, 4))
    else
      add_zero(tree, tvb(8, 4))
    end
    add_zero(tree, tvb(12, 4))
    add_path(tree, f.path, tvb(16, 1))
    add_zero(tree, tvb(17, 1))
  end
  tree:add(f.epoch, tvb(18, 2))
end

-- DATA -------------------------------------------------------------------------------------------------------------

-- The operation's own fields; returns what the information column says of them.
local function add_own_fields(tree, tvb, operation, payload_bytes)
  local at, items, values = OWN_OFFSET, {}, {}
  for _, field in ipairs(OWN_FIELDS[operation]) do
    local name, size = field[1], field[2]
    local range = tvb(at, size)
    if name == "zero" then
      add_zero(tree, range)
    else
      if name == "rdma_total" and values.rdma_offset == FAILED_READ then
        name = "rdma_failure"
      end
      items[name] = tree:add(f[name], range)
      values[name] = size == 4 and range:uint() or nil
    end
    at = at + size
  end
  if values.rdma_segments then
    if values.rdma_segment >= values.rdma_segments then
      items.rdma_segment:add_proto_expert_info(e.segment)
    end
    return string.format(" id=%d segment=%d/%d", values.rdma_id, values.rdma_segment, values.rdma_segments)
  elseif values.rdma_length then
    if values.rdma_length > MOST_RDMA_BYTES then
      items.rdma_length:add_proto_expert_info(e.rdma_length)
    end
    return string.format(" id=%d length=%d", values.rdma_id, values.rdma_length)
  elseif values.rdma_failure then
    if not REASONS[values.rdma_failure] then
      items.rdma_failure:add_proto_expert_info(e.reason)
    end
    if payload_bytes > 0 then
      items.rdma_failure:add_proto_expert_info(e.payload)
    end
    return string.format(" id=%d failed: %s", values.rdma_id, REASONS[values.rdma_failure] or "unknown reason")
  elseif values.rdma_total then
    if values.rdma_offset + payload_bytes > values.rdma_total then
      items.rdma_offset:add_proto_expert_info(e.beyond)
    end
    return string.format(" id=%d offset=%d/%d", values.rdma_id, values.rdma_offset, values.rdma_total)
  end
  return ""
end

local function add_payload(tree, tvb, pinfo, root, header, operation)
  local bytes = tvb:reported_len() - header
  if bytes == 0 then
    return
  end
  local length = tree:add(f.payload_length, bytes)
  length:set_generated(true)
  if NO_PAYLOAD[operation] then
    length:add_proto_expert_info(e.payload)
  end
  if tvb:captured_len() > header then
    tree:add(f.payload, tvb(header))
    Dissector.get("data"):call(tvb(header):tvb(), pinfo, root)
  end
end

local function dissect_data(tree, tvb, pinfo, root, header)
  local operation = tvb(17, 1):uint()
  local is_again = tvb(1, 1):bitfield(6, 1) == 1
  local payload_bytes = tvb:reported_len() - header
  tree:add(f.qp_source, tvb(20, 2))
  tree:add(f.qp_destination, tvb(22, 2))
  tree:add(f.qkey, tvb(24, 4))
  if HAS_IMMEDIATE[operation] then
    tree:add(f.immediate, tvb(28, 4))
  else
    add_zero(tree, tvb(28, 4))
  end
  local own = add_own_fields(tree, tvb, operation, payload_bytes)
  add_tag(tree, tvb(header - TAG_BYTES, TAG_BYTES))
  local before = transmission_before(tvb, pinfo, is_again)
  if before then
    tree:add(f.again_of, before):set_generated(true)
  end
  if is_again then
    tree:add_proto_expert_info(e.again)
  end
  pinfo.cols.info = string.format("DATA %s psn=%d txn=%d path=%d%s %d bytes%s", OPERATIONS[operation],
    tvb(8, 4):uint(), tvb(12, 4):uint(), tvb(16, 1):uint(), own, payload_bytes, is_again and " [retransmission]" or "")
  add_payload(tree, tvb, pinfo, root, header, operation)
end

-- ACK --------------------------------------------------------------------------------------------------------------

-- The runs of ones of a bitmap as { first, last }, bits counted from 0, and the number of ones.
-- Bit i is bit i % 64 of word i / 64, counted from the least significant: in byte 7 - i % 64 / 8 of a big-endian word.
local function runs_of(range, words)
  local bytes, runs, ones, run = range:bytes(), {}, 0, nil
  for word = 0, words - 1 do
    for index = 0, 7 do
      local byte = bytes:get_index(word * WORD_BYTES + 7 - index)
      for bit = 0, 7 do
        if byte % 2 == 1 then
          local place = word * 64 + index * 8 + bit
          ones = ones + 1
          if run and run[2] == place - 1 then
            run[2] = place
          else
            run = { place, place }
            runs[#runs + 1] = run
          end
        end
        byte = math.floor(byte / 2)
      end
    end
  end
  return runs, ones
end

-- Returns how many PSNs beyond the next expected one arrived.
local function add_bitmap(tree, range, words, next_psn)
  local runs, ones = runs_of(range, words)
  local bitmap = tree:add(f.ack_bitmap, range)
  bitmap:add(f.ack_beyond, ones):set_generated(true)
  for _, run in ipairs(runs) do
    local first, last = (next_psn + 1 + run[1]) % ROUND, (next_psn + 1 + run[2]) % ROUND
    local text = run[1] == run[2] and string.format("%d", first) or string.format("%d-%d", first, last)
    local item = bitmap:add(f.ack_range, text)
    item:set_generated(true)
    item:add(f.ack_first, first):set_generated(true)
    item:add(f.ack_last, last):set_generated(true)
  end
  return ones
end

local function add_echo(tree, range)
  local delay_ns = range(2, 2):uint() * 64
  local echo = tree:add(f.echo, range)
  echo:append_text(string.format(": path %d, highest TXN %d", range(0, 1):uint(), range(4, 4):uint()))
  add_path(echo, f.echo_path, range(0, 1))
  add_zero(echo, range(1, 1))
  echo:add(f.echo_delay, range(2, 2))
  echo:add(f.echo_delay_ns, range(2, 2), delay_ns):set_generated(true)
  echo:add(f.echo_txn, range(4, 4))
  echo:add(f.echo_ce, range(8, 2))
  echo:add(f.echo_packets, range(10, 2))
end

local function add_refusal(tree, range)
  local code = range(4, 1):uint()
  local refusal = tree:add(f.refusal, range)
  refusal:append_text(string.format(": PSN %d, %s", range(0, 4):uint(), REASONS[code] or "unknown reason"))
  refusal:add(f.refusal_psn, range(0, 4))
  local reason = refusal:add(f.refusal_reason, range(4, 1))
  reason:add_proto_expert_info(REASONS[code] and e.refused or e.reason)
  add_zero(refusal, range(5, 3))
end

local function add_count(tree, field, range, most)
  local item = tree:add(field, range)
  if range:uint() > most then
    item:add_proto_expert_info(e.count)
  end
end

local function dissect_ack(tree, tvb, pinfo)
  local next_psn = tvb(8, 4):uint()
  local words, echoes, refusals = tvb(20, 1):uint(), tvb(21, 1):uint(), tvb(22, 1):uint()
  add_count(tree, f.ack_words, tvb(20, 1), MOST_WORDS)
  add_count(tree, f.ack_echoes, tvb(21, 1), MOST_ECHOES)
  add_count(tree, f.ack_refusals, tvb(22, 1), MOST_REFUSALS)
  add_zero(tree, tvb(23, 1))
  local at, beyond = ACK_COUNTS_BYTES, 0
  if words > 0 then
    beyond = add_bitmap(tree, tvb(at, words * WORD_BYTES), words, next_psn)
    at = at + words * WORD_BYTES
  end
  for _ = 1, echoes do
    add_echo(tree, tvb(at, ECHO_BYTES))
    at = at + ECHO_BYTES
  end
  for _ = 1, refusals do
    add_refusal(tree, tvb(at, REFUSAL_BYTES))
    at = at + REFUSAL_BYTES
  end
  add_tag(tree, tvb(at, TAG_BYTES))
  pinfo.cols.info = string.format("ACK next=%d%s%s path=%d", next_psn, beyond > 0 and " +" .. beyond or "",
    refusals > 0 and " refusals=" .. refusals or "", tvb(16, 1):uint())
end

-- HELLO ------------------------------------------------------------------------------------------------------------

-- Offsets 20 to 31, the same in every version.
local function add_hello_fixed(tree, tvb)
  tree:add(f.hello_lowest, tvb(20, 1))
  local highest = tree:add(f.hello_highest, tvb(21, 1))
  if tvb(20, 1):uint() > tvb(21, 1):uint() then
    highest:add_proto_expert_info(e.versions)
  end
  local datagram = tree:add(f.hello_datagram, tvb(22, 2))
  if tvb(22, 2):uint() < LEAST_DATAGRAM then
    datagram:add_proto_expert_info(e.datagram)
  end
  tree:add(f.hello_window, tvb(24, 4))
  tree:add(f.hello_rdma, tvb(28, 2))
  local features = tree:add(f.hello_features, tvb(30, 2))
  features:add(f.hello_payload_tag, tvb(30, 2))
  local unknown = features:add(f.hello_unknown, tvb(30, 2))
  if tvb(30, 2):bitfield(0, 15) ~= 0 then
    unknown:add_proto_expert_info(e.zero)
  else
    unknown:set_hidden(true)
  end
end

local function dissect_hello(tree, tvb, pinfo)
  add_hello_fixed(tree, tvb)
  local sender = tree:add(f.hello_sender, tvb(32, 8))
  if tvb(32, 8):uint64() == UInt64(0) then
    sender:add_proto_expert_info(e.incarnation)
  end
  local receiver = tree:add(f.hello_receiver, tvb(40, 8))
  local knows = tvb(40, 8):uint64() ~= UInt64(0)
  if not knows then
    receiver:append_text(" (not known)")
  end
  tree:add(f.hello_sender_gid, tvb(48, 16))
  tree:add(f.hello_receiver_gid, tvb(64, 16))
  add_tag(tree, tvb(80, TAG_BYTES))
  pinfo.cols.info = string.format("HELLO context=%d incarnation=%s receiver=%s window=%d path=%d", tvb(4, 4):uint(),
    tostring(tvb(32, 8):bytes()), knows and tostring(tvb(40, 8):bytes()) or "?", tvb(24, 4):uint(), tvb(16, 1):uint())
end

-- A HELLO of another version: NEG-2 says what of it is known.
local function dissect_other_version(tree, tvb, pinfo, kind, version)
  pinfo.cols.info = string.format("%s of version %d", TYPES[kind] or "Packet", version)
  if kind == HELLO and tvb:captured_len() >= HELLO_BYTES then
    add_base(tree, tvb, kind)
    add_hello_fixed(tree, tvb)
    tree:add(f.rest, tvb(HELLO_FIXED_BYTES, HELLO_BYTES - TAG_BYTES - HELLO_FIXED_BYTES))
    add_tag(tree, tvb(HELLO_BYTES - TAG_BYTES, TAG_BYTES))
    add_rest(tree, tvb, HELLO_BYTES)
  else
    tree:add(f.version, tvb(0, 1)):add_proto_expert_info(e.version)
    tree:add(f.type, tvb(0, 1))
    add_rest(tree, tvb, 1)
  end
end

-- A packet ---------------------------------------------------------------------------------------------------------

-- What can be said of a packet whose header is not all there, or of which nobody knows how long it is.
local function dissect_part(tree, tvb, pinfo, kind, header)
  local captured, reported = tvb:captured_len(), tvb:reported_len()
  local name = TYPES[kind] or string.format("Type %d", kind)
  local known_from = 1
  if captured >= BASE_BYTES then
    add_base(tree, tvb, kind)
    known_from = BASE_BYTES
    if kind == DATA then
      name = name .. " " .. (OPERATIONS[tvb(17, 1):uint()] or string.format("operation %d", tvb(17, 1):uint()))
      name = name .. string.format(" psn=%d txn=%d path=%d", tvb(8, 4):uint(), tvb(12, 4):uint(), tvb(16, 1):uint())
    end
  else
    tree:add(f.version, tvb(0, 1))
    tree:add(f.type, tvb(0, 1))
  end
  add_rest(tree, tvb, known_from)
  local least = header or (kind == ACK and ACK_COUNTS_BYTES + TAG_BYTES) or BASE_BYTES
  if reported < least then
    tree:add_proto_expert_info(e.short)
  elseif captured < least then
    tree:add_proto_expert_info(e.cut)
    pinfo.cols.info = name .. " [cut by the capture]"
    return
  end
  pinfo.cols.info = name .. " [malformed]"
end

function srd.dissector(tvb, pinfo, root)
  local captured, reported = tvb:captured_len(), tvb:reported_len()
  if captured == 0 then
    return 0
  end
  pinfo.cols.protocol = "SRD"
  local tree = root:add(srd, tvb())
  local version, kind = tvb(0, 1):bitfield(0, 4), tvb(0, 1):bitfield(4, 4)
  if version ~= VERSION then
    dissect_other_version(tree, tvb, pinfo, kind, version)
    return captured
  end
  local header = header_bytes(tvb)
  if not header or header > captured then
    dissect_part(tree, tvb, pinfo, kind, header)
    return captured
  end
  tree:append_text(", " .. TYPES[kind])
  add_base(tree, tvb, kind)
  if kind == DATA then
    dissect_data(tree, tvb, pinfo, root, header)
    return captured
  elseif kind == ACK then
    dissect_ack(tree, tvb, pinfo)
  else
    dissect_hello(tree, tvb, pinfo)
  end
  if reported > header then
    tree:add_proto_expert_info(e.trailing)
    add_rest(tree, tvb, header)
  end
  return captured
end

-- Where packets are looked for -------------------------------------------------------------------------------------

-- Whether a UDP payload on any port has the form of a packet.
local function looks_like_srd(tvb, pinfo, root)
  local header = header_bytes(tvb)
  if not header or tvb(0, 1):bitfield(0, 4) ~= VERSION or tvb(1, 1):bitfield(0, 5) ~= 0 then
    return false
  end
  if tvb(2, 2):uint() ~= tvb:reported_len() or header > tvb:reported_len() then
    return false
  end
  pinfo.conversation = srd
  srd.dissector(tvb, pinfo, root)
  return true
end

srd:register_heuristic("udp", looks_like_srd)

local udp_ports = DissectorTable.get("udp.port")
local ports_now = srd.prefs.ports
udp_ports:add(ports_now, srd)

function srd.prefs_changed()
  if srd.prefs.ports ~= ports_now then
    udp_ports:remove(ports_now, srd)
    ports_now = srd.prefs.ports
    udp_ports:add(ports_now, srd)
  end
end
