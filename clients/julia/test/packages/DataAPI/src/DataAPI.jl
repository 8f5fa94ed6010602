"Stands for DataAPI.jl: values that stand for others, as in a column of categories"
module DataAPI

struct Wrapped
    value::String
end
unwrap(item) = item
unwrap(item::Wrapped) = item.value

end
