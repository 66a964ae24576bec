//! What the pointwise operators of one input share: all of their `OpDef` but name, body and meaning.

/// An operator that takes f32 to f32 point by point: its attributes with the value they have in the
/// sample, its name, its body, its meaning in f64.
macro_rules! pointwise_unary {
    (
        $Name:ident { $($(#[$doc:meta])* $field:ident: f32 = $sample:literal)? },
        $name:literal, $body:expr, $meaning:expr
    ) => {
        #[doc = concat!("`", $name, "`: see the module.")]
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $Name {
            $($(#[$doc])* pub $field: f32,)?
        }

        impl super::OpDef for $Name {
            const NAME: &'static str = $name;
            const CLASS: super::Class = super::Class::Pointwise;

            fn infer(&self, inputs: &[crate::TensorType]) -> Result<crate::TensorType, super::OpError> {
                let [x] = super::arity(inputs)?;
                super::check::dtype(0, x, crate::DType::F32)?;
                Ok(x.clone())
            }

            fn body(&self, inputs: &[crate::TensorType]) -> Option<crate::expr::Body> {
                let body: fn(&$Name, crate::expr::Expr) -> crate::expr::Expr = $body;
                let x = crate::expr::load(0, crate::expr::axes(inputs[0].rank()));
                Some(crate::expr::Body::new(&body(self, x)))
            }

            fn eval(
                &self,
                inputs: &[&crate::Tensor],
                _: &crate::Symbols,
            ) -> Result<crate::Tensor, super::OpError> {
                let meaning: fn(&$Name, f64) -> f64 = $meaning;
                let values = inputs[0].to_f32().into_iter().map(|v| meaning(self, f64::from(v)) as f32);
                Ok(crate::Tensor::f32(inputs[0].shape(), &values.collect::<Vec<_>>()))
            }

            fn samples() -> Vec<(Self, Vec<crate::TensorType>)> {
                let op = $Name { $($field: $sample)? };
                [&[4, 8][..], &[3, 1, 7], &[]]
                    .map(|shape| (op.clone(), vec![crate::TensorType::f32(shape)]))
                    .to_vec()
            }
        }
    };
}
pub(super) use pointwise_unary;
