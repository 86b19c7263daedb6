// The baseline of `nexusctl vm list`: the least that Node.js needs to print the same.
//
// node get.cjs PORT
const { get } = require("node:http")

get({ host: "127.0.0.1", port: Number(process.argv[2]), path: "/v1/vms" }, (response) => {
  let text = ""
  response.setEncoding("utf8")
  response.on("data", (part) => {
    text += part
  })
  response.on("end", () => {
    const cells = [["NAME", "ROLE", "STATE", "VCPU", "MEM", "CID"]]
    for (const { cid, mem_size_mib, name, role, state, vcpu_count } of JSON.parse(text)) {
      cells.push([name, role, state, String(vcpu_count), `${mem_size_mib}M`, String(cid)])
    }
    console.log(cells.map((line) => line.map((cell) => cell.padEnd(10)).join(" ")).join("\n"))
  })
})
