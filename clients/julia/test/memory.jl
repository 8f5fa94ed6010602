# What 200 MB by link cost in memory: julia memory.jl send|receive FILE. Needs FILESERVER_URL; `receive` takes the message that `send` leaves.

using NATSBridge

"The most memory that this process has held since `forget`, in MB"
most() = parse(Int, match(r"VmHWM:\s*(\d+)", read("/proc/self/status", String))[1]) >> 10
"Linux measures the most anew from here: what compiling took would hide as much of what follows"
forget() = write("/proc/self/clear_refs", "5")

const WHAT, FILE = ARGS[1], ARGS[2]
const MEGABYTES = 200
"MB that sending or receiving them may take"
const LIMIT = 100

"Compiles everything once, with a file that is a link too, so that only the large one is measured"
function measured(f, small, large)
    f(small)
    GC.gc()
    forget()
    before = most()
    seconds = @elapsed f(large)
    more = most() - before
    println("$WHAT $MEGABYTES MB by link: $more MB (less than $LIMIT) more than the $before MB that Julia and the package hold, $(round(seconds; digits=1)) s")
    more
end

sent(path) = write(path * ".json", smartsend("lab.x", [("film", FromFile(path), "video")])[2])
received(path) = save(smartreceive(read(path * ".json"); leave_links=true)["payloads"][1][2], path * ".copy")

if WHAT == "send"
    open(FILE, "w") do file
        for _ in 1:MEGABYTES
            write(file, rand(UInt8, 1_000_000))
        end
    end
    write(FILE * ".small", rand(UInt8, 1_000_000))
end
more = measured(WHAT == "send" ? sent : received, FILE * ".small", FILE)
WHAT == "receive" && !success(`cmp -s $FILE $FILE.copy`) && error("other bytes arrived")
exit(more < LIMIT ? 0 : 1)
