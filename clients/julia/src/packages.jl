# Packages that the user may have loaded: Tables.jl, DataAPI.jl, Arrow.jl. None of them is needed.

"A package that the user has loaded, by its identifier; `nothing` if it is not there"
loaded(name, id) = get(Base.loaded_modules, Base.PkgId(UUID(id), name), nothing)

const TABLES_ID = "bd369af6-aec1-5ad0-b16a-f7cc5008161c"
const DATA_API_ID = "9a962f9c-6df0-11e9-0e5d-c546b8b5ee8a"
const ARROW_ID = "69666777-d1a9-59fb-9406-91d4454c9d45"
tables_package() = loaded("Tables", TABLES_ID)
data_api() = loaded("DataAPI", DATA_API_ID)

"Older ones read memory that is not theirs, or change values"
const ARROW_VERSION = v"2.7.4"

"Refuses tables of an Arrow.jl that is too old, by name"
function check_arrow(value)
    name = parentmodule(typeof(value))
    nameof(Base.moduleroot(name)) === :Arrow || return
    Arrow = loaded("Arrow", ARROW_ID)
    version = Arrow === nothing ? nothing : version_of(Arrow)
    version === nothing || version >= ARROW_VERSION || throw(NATSBridgeError(
        "unsupported", "this table is of Arrow.jl $version, which gives wrong values; $ARROW_VERSION or newer is needed",
    ))
end

function version_of(Package)
    path = pathof(Package)
    project = path === nothing ? "" : joinpath(dirname(dirname(path)), "Project.toml")
    found = isfile(project) ? match(r"^version\s*=\s*\"([^\"]+)\""m, read(project, String)) : nothing
    found === nothing ? nothing : VersionNumber(found[1])
end

"What another package's value stands for; extensions add methods"
plain_value(item) = item

"Julia 1.9 and newer load extensions themselves; before, they are included once their package is there"
const EXTENSIONS = (("Tables", TABLES_ID, "NATSBridgeTablesExt"), ("Arrow", ARROW_ID, "NATSBridgeArrowExt"))

function load_extension(package)
    for (name, id, extension) in EXTENSIONS
        package == Base.PkgId(UUID(id), name) && !isdefined(@__MODULE__, Symbol(extension)) &&
            Base.include(@__MODULE__, joinpath(dirname(@__DIR__), "ext", extension * ".jl"))
    end
end

function __init__()
    if !isdefined(Base, :get_extension)
        foreach(((name, id, _),) -> haskey(Base.loaded_modules, Base.PkgId(UUID(id), name)) && load_extension(Base.PkgId(UUID(id), name)), EXTENSIONS)
        push!(Base.package_callbacks, load_extension)
    end
end
